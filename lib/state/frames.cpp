#include "state/frames.hpp"

#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <functional>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

#include "base/checked.hpp"
#include "state/crc32c.hpp"
#include "state/memory_file.hpp"
#include "sys/file.hpp"

namespace microvm::state {
namespace {

constexpr std::string_view kMagic = "MVMFRAME";
constexpr uint32_t kFramesVersion = 1;
constexpr size_t kHeaderBytes = 40;
constexpr size_t kEntryBytes = 16;
constexpr unsigned kMaxThreads = 64;
constexpr uint64_t kMaxIndexBytes = kMaxMemoryBytes / kMinFrameBytes * kEntryBytes;

base::Failure corrupt(const std::string& what) {
  return base::fail(ErrorCode::corrupt, "packed memory: " + what);
}

Result<uint64_t> regular_file_size(int fd) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return base::fail_errno("packed memory");
  if (!S_ISREG(info.st_mode)) {
    return base::fail(ErrorCode::invalid_argument, "packed memory: not a regular file");
  }
  return static_cast<uint64_t>(info.st_size);
}

size_t frame_count_for(uint64_t raw_bytes, uint32_t frame_bytes) {
  return static_cast<size_t>((raw_bytes + frame_bytes - 1) / frame_bytes);
}

// Calls `work(frame)` for every frame on some threads; the first failure stops all of them.
// `make_work` is called once per thread, for its buffers.
using FrameWork = std::function<Result<void>(size_t frame)>;

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
  threads = std::clamp(threads, 1u, std::min(kMaxThreads, static_cast<unsigned>(count) + 1));
  {
    std::vector<std::jthread> others;
    try {
      for (unsigned i = 1; i < threads; ++i) others.emplace_back(run);
    } catch (const std::system_error&) {
      // No thread to be had: the ones that run do all of the work.
    }
    run();
  }
  if (first_error) return base::fail(*first_error);
  return {};
}

struct Header {
  uint32_t frame_bytes = 0;
  uint64_t raw_bytes = 0;
  uint64_t index_offset = 0;
  uint32_t index_checksum = 0;

  [[nodiscard]] wire::Bytes encode() const {
    wire::ByteWriter out;
    out.put_bytes(wire::as_bytes(kMagic));
    out.put(kFramesVersion);
    out.put(frame_bytes);
    out.put(raw_bytes);
    out.put(index_offset);
    out.put(index_checksum);
    out.put(crc32c(out.bytes()));
    return out.take();
  }
};
static_assert(kHeaderBytes == kMagic.size() + 4 * sizeof(uint32_t) + 2 * sizeof(uint64_t));

bool valid_frame_bytes(uint32_t frame_bytes) {
  return std::has_single_bit(frame_bytes) && frame_bytes >= kMinFrameBytes &&
         frame_bytes <= kMaxFrameBytes;
}

Result<Header> decode_header(wire::ByteView bytes) {
  wire::ByteReader in(bytes);
  Header header;
  if (wire::as_text(in.get_bytes(kMagic.size())) != kMagic) return corrupt("not a packed memory");
  const auto version = in.get<uint32_t>();
  header.frame_bytes = in.get<uint32_t>();
  header.raw_bytes = in.get<uint64_t>();
  header.index_offset = in.get<uint64_t>();
  header.index_checksum = in.get<uint32_t>();
  if (in.get<uint32_t>() != crc32c(bytes.first(kHeaderBytes - sizeof(uint32_t)))) {
    return corrupt("header checksum is wrong");
  }
  if (version != kFramesVersion) {
    return base::fail(ErrorCode::unsupported,
                      "packed memory: format version " + std::to_string(version));
  }
  if (!valid_frame_bytes(header.frame_bytes) || header.raw_bytes > kMaxMemoryBytes ||
      header.raw_bytes % kPageBytes != 0) {
    return corrupt("bad sizes in the header");
  }
  return header;
}

// Compresses frames of the raw file and appends them to the packed one, from several threads.
class Packer {
 public:
  Packer(int raw_fd, int packed_fd, uint64_t raw_bytes, const PackOptions& options)
      : raw_fd_(raw_fd), packed_fd_(packed_fd), raw_bytes_(raw_bytes), options_(options) {}

  Result<PackResult> run() {
    const size_t count = frame_count_for(raw_bytes_, options_.frame_bytes);
    entries_.resize(count);
    if (auto ok = mark_frames_with_data(); !ok) return base::fail(ok.error());
    const auto done = for_each_frame(count, options_.threads, [this] { return make_work(); });
    if (!done) return base::fail(done.error());
    return write_index();
  }

 private:
  struct Entry {
    uint64_t offset = 0;
    uint32_t stored_bytes = 0;
    uint32_t checksum = 0;
    bool has_data = false;
  };
  struct Buffers {
    std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context{ZSTD_createCCtx(), ZSTD_freeCCtx};
    std::vector<std::byte> raw;
    std::vector<std::byte> stored;
  };

  Result<void> mark_frames_with_data() {
    return sys::for_each_data_range(raw_fd_, [&](uint64_t offset, uint64_t length) -> Result<void> {
      const uint64_t last = (offset + length - 1) / options_.frame_bytes;
      for (uint64_t i = offset / options_.frame_bytes; i <= last && i < entries_.size(); ++i) {
        entries_[i].has_data = true;
      }
      return {};
    });
  }

  FrameWork make_work() {
    auto buffers = std::make_shared<Buffers>();
    buffers->raw.resize(options_.frame_bytes);
    buffers->stored.resize(ZSTD_compressBound(options_.frame_bytes));
    return [this, buffers](size_t frame) { return pack(frame, *buffers); };
  }

  Result<void> pack(size_t frame, Buffers& buffers) {
    Entry& entry = entries_[frame];
    if (!entry.has_data) return {};
    const uint64_t offset = uint64_t{frame} * options_.frame_bytes;
    const auto raw =
        std::span(buffers.raw).first(std::min<uint64_t>(options_.frame_bytes, raw_bytes_ - offset));
    if (auto got = sys::pread_full(raw_fd_, raw, offset); !got) return got;
    if (is_zero(raw)) return {};
    const size_t stored =
        ZSTD_compressCCtx(buffers.context.get(), buffers.stored.data(), buffers.stored.size(),
                          raw.data(), raw.size(), options_.zstd_level);
    if (ZSTD_isError(stored) != 0) {
      return base::fail(ErrorCode::out_of_memory,
                        std::string("compress memory: ") + ZSTD_getErrorName(stored));
    }
    const auto bytes = wire::ByteView(buffers.stored).first(stored);
    entry.offset = end_.fetch_add(stored);
    entry.stored_bytes = static_cast<uint32_t>(stored);
    entry.checksum = crc32c(bytes);
    return sys::pwrite_full(packed_fd_, bytes, entry.offset);
  }

  Result<PackResult> write_index() {
    wire::ByteWriter index;
    for (const Entry& entry : entries_) {
      index.put(entry.offset);
      index.put(entry.stored_bytes);
      index.put(entry.checksum);
    }
    const Header header{options_.frame_bytes, raw_bytes_, end_, crc32c(index.bytes())};
    if (const auto put = sys::pwrite_full(packed_fd_, index.bytes(), end_); !put) {
      return base::fail(put.error());
    }
    if (const auto put = sys::pwrite_full(packed_fd_, header.encode(), 0); !put) {
      return base::fail(put.error());
    }
    return PackResult{raw_bytes_, end_ + index.bytes().size()};
  }

  int raw_fd_;
  int packed_fd_;
  uint64_t raw_bytes_;
  PackOptions options_;
  std::vector<Entry> entries_;
  std::atomic<uint64_t> end_{kHeaderBytes};
};

}  // namespace

Result<PackResult> pack_memory(int raw_fd, int packed_fd, const PackOptions& options) {
  const auto raw_bytes = regular_file_size(raw_fd);
  if (!raw_bytes) return base::fail(raw_bytes.error());
  const auto packed_bytes = regular_file_size(packed_fd);
  if (!packed_bytes) return base::fail(packed_bytes.error());
  if (*packed_bytes != 0) {
    return base::fail(ErrorCode::invalid_argument, "packed memory: the output is not empty");
  }
  if (!valid_frame_bytes(options.frame_bytes) || *raw_bytes % kPageBytes != 0 ||
      *raw_bytes > kMaxMemoryBytes) {
    return base::fail(ErrorCode::invalid_argument, "packed memory: bad frame or memory size");
  }
  return Packer(raw_fd, packed_fd, *raw_bytes, options).run();
}

Result<FrameReader> FrameReader::open(int packed_fd) {
  const auto size = regular_file_size(packed_fd);
  if (!size) return base::fail(size.error());
  if (*size < kHeaderBytes) return corrupt("shorter than its header");
  wire::Bytes bytes(kHeaderBytes);
  if (const auto got = sys::pread_full(packed_fd, bytes, 0); !got) return base::fail(got.error());
  const auto header = decode_header(bytes);
  if (!header) return base::fail(header.error());

  FrameReader reader;
  reader.fd_ = packed_fd;
  reader.frame_bytes_ = header->frame_bytes;
  reader.raw_bytes_ = header->raw_bytes;
  const uint64_t index_bytes =
      frame_count_for(header->raw_bytes, header->frame_bytes) * kEntryBytes;
  // The index is as long as the file says it is, so what is allocated is bounded by the file.
  if (index_bytes > kMaxIndexBytes || header->index_offset < kHeaderBytes ||
      !base::range_fits(header->index_offset, index_bytes, *size) ||
      header->index_offset + index_bytes != *size) {
    return corrupt("the index is not where the header says; the file was cut or changed");
  }
  bytes.resize(index_bytes);
  if (const auto got = sys::pread_full(packed_fd, bytes, header->index_offset); !got) {
    return base::fail(got.error());
  }
  if (crc32c(bytes) != header->index_checksum) return corrupt("index checksum is wrong");
  if (const auto loaded = reader.load_index(bytes, header->index_offset); !loaded) {
    return base::fail(loaded.error());
  }
  return reader;
}

Result<void> FrameReader::load_index(wire::ByteView bytes, uint64_t index_offset) {
  const size_t max_stored = ZSTD_compressBound(frame_bytes_);
  index_.resize(bytes.size() / kEntryBytes);
  wire::ByteReader in(bytes);
  for (Entry& entry : index_) {
    entry.offset = in.get<uint64_t>();
    entry.stored_bytes = in.get<uint32_t>();
    entry.checksum = in.get<uint32_t>();
    if (entry.stored_bytes > max_stored ||
        (entry.stored_bytes != 0 &&
         (entry.offset < kHeaderBytes ||
          !base::range_fits(entry.offset, entry.stored_bytes, index_offset)))) {
      return corrupt("a frame lies outside of the file");
    }
  }
  return {};
}

uint32_t FrameReader::frame_size(size_t frame) const {
  const uint64_t offset = uint64_t{frame} * frame_bytes_;
  return static_cast<uint32_t>(std::min<uint64_t>(frame_bytes_, raw_bytes_ - offset));
}

Result<void> FrameReader::read(size_t frame, std::span<std::byte> out) const {
  if (frame >= index_.size() || out.size() != frame_size(frame)) {
    return base::fail(ErrorCode::invalid_argument, "packed memory: no such frame");
  }
  const Entry& entry = index_[frame];
  if (entry.stored_bytes == 0) {
    std::ranges::fill(out, std::byte{0});
    return {};
  }
  wire::Bytes stored(entry.stored_bytes);
  if (auto got = sys::pread_full(fd_, stored, entry.offset); !got) return got;
  if (crc32c(stored) != entry.checksum) {
    return corrupt("frame " + std::to_string(frame) + " checksum is wrong");
  }
  const size_t size = ZSTD_decompress(out.data(), out.size(), stored.data(), stored.size());
  if (ZSTD_isError(size) != 0 || size != out.size()) {
    return corrupt("frame " + std::to_string(frame) + " does not unpack");
  }
  return {};
}

Result<uint64_t> unpack_memory(int packed_fd, int raw_fd, unsigned threads) {
  const auto reader = FrameReader::open(packed_fd);
  if (!reader) return base::fail(reader.error());
  if (const auto made = make_sparse(raw_fd, reader->raw_bytes()); !made) {
    return base::fail(made.error());
  }
  const auto make_work = [&]() -> FrameWork {
    auto buffer = std::make_shared<std::vector<std::byte>>(reader->frame_bytes());
    return [&reader, raw_fd, buffer](size_t frame) -> Result<void> {
      if (reader->is_hole(frame)) return {};
      const auto raw = std::span(*buffer).first(reader->frame_size(frame));
      if (auto got = reader->read(frame, raw); !got) return got;
      const auto put = write_sparse(raw_fd, uint64_t{frame} * reader->frame_bytes(), raw);
      if (!put) return base::fail(put.error());
      return {};
    };
  };
  if (const auto done = for_each_frame(reader->frame_count(), threads, make_work); !done) {
    return base::fail(done.error());
  }
  return reader->raw_bytes();
}

}  // namespace microvm::state
