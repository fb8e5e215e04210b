#include "state/frame_codec.hpp"

#include <zstd.h>

#include <algorithm>
#include <bit>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

#include "base/blocked_signals.hpp"
#include "base/checked.hpp"
#include "state/crc32c.hpp"
#include "sys/file.hpp"

namespace microvm::state {
namespace {

constexpr unsigned kMaxThreads = 64;

}  // namespace

bool valid_frame_bytes(uint32_t frame_bytes) noexcept {
  return std::has_single_bit(frame_bytes) && frame_bytes >= kMinFrameBytes &&
         frame_bytes <= kMaxFrameBytes;
}

size_t frame_count_for(uint64_t raw_bytes, uint32_t frame_bytes) noexcept {
  return static_cast<size_t>((raw_bytes + frame_bytes - 1) / frame_bytes);
}

Result<uint64_t> regular_file_size(int fd, const std::string& what) {
  if (const auto regular = sys::check_regular_file(fd, what); !regular) {
    return base::fail(regular.error());
  }
  return sys::file_size(fd);
}

void FrameEntry::encode(wire::ByteWriter& out) const {
  out.put(offset);
  out.put(stored_bytes);
  out.put(checksum);
}

FrameEntry FrameEntry::decode(wire::ByteReader& in) {
  FrameEntry entry;
  entry.offset = in.get<uint64_t>();
  entry.stored_bytes = in.get<uint32_t>();
  entry.checksum = in.get<uint32_t>();
  return entry;
}

bool FrameEntry::fits(uint64_t begin, uint64_t end, uint32_t frame_bytes) const noexcept {
  return stored_bytes <= ZSTD_compressBound(frame_bytes) && offset >= begin &&
         base::range_fits(offset, stored_bytes, end);
}

FrameEncoder::FrameEncoder(uint32_t frame_bytes, int zstd_level)
    : context_(ZSTD_createCCtx()),
      zstd_level_(zstd_level),
      raw_(frame_bytes),
      stored_(ZSTD_compressBound(frame_bytes)) {}

void FrameEncoder::Free::operator()(ZSTD_CCtx_s* context) const noexcept {
  ZSTD_freeCCtx(context);
}

Result<FrameEntry> FrameEncoder::append(wire::ByteView raw, int fd, std::atomic<uint64_t>& end) {
  if (!context_) return base::fail(ErrorCode::out_of_memory, "compress memory: out of memory");
  const size_t size = ZSTD_compressCCtx(context_.get(), stored_.data(), stored_.size(), raw.data(),
                                        raw.size(), zstd_level_);
  if (ZSTD_isError(size) != 0) {
    return base::fail(ErrorCode::out_of_memory,
                      std::string("compress memory: ") + ZSTD_getErrorName(size));
  }
  const auto bytes = wire::ByteView(stored_).first(size);
  const FrameEntry entry{end.fetch_add(size), static_cast<uint32_t>(size), crc32c(bytes)};
  if (const auto put = sys::pwrite_full(fd, bytes, entry.offset); !put) {
    return base::fail(put.error());
  }
  return entry;
}

FrameDecoder::FrameDecoder() : context_(ZSTD_createDCtx()) {}

void FrameDecoder::Free::operator()(ZSTD_DCtx_s* context) const noexcept {
  ZSTD_freeDCtx(context);
}

Result<void> FrameDecoder::read(int fd, const FrameEntry& entry, std::span<std::byte> out) {
  if (!context_) return base::fail(ErrorCode::out_of_memory, "unpack memory: out of memory");
  stored_.resize(entry.stored_bytes);
  if (auto got = sys::pread_full(fd, stored_, entry.offset); !got) return got;
  if (crc32c(stored_) != entry.checksum) {
    return base::fail(ErrorCode::corrupt, "its checksum is wrong");
  }
  const size_t size =
      ZSTD_decompressDCtx(context_.get(), out.data(), out.size(), stored_.data(), stored_.size());
  if (ZSTD_isError(size) != 0 || size != out.size()) {
    return base::fail(ErrorCode::corrupt, "it does not unpack");
  }
  return {};
}

Result<void> for_each_frame(size_t count, unsigned threads,
                            const std::function<FrameWork()>& make_work) {
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::optional<Error> first_error;
  const auto run = [&] {
    const FrameWork work = make_work();
    for (size_t frame = next++; frame < count; frame = next++) {
      if (const auto done = work(frame); !done) {
        next = count;
        const std::lock_guard lock(mutex);
        if (!first_error) first_error = done.error();
      }
    }
  };
  threads = static_cast<unsigned>(
      std::min<size_t>(std::clamp(threads, 1u, kMaxThreads), std::max<size_t>(count, 1)));
  {
    std::vector<std::jthread> others;
    try {
      const base::BlockedSignals blocked;
      for (unsigned i = 1; i < threads; ++i) others.emplace_back(run);
    } catch (const std::system_error&) {
      // No thread to be had: the ones that run do all of the work.
    }
    run();
  }
  if (first_error) return base::fail(*first_error);
  return {};
}

}  // namespace microvm::state
