// A hostile file of packed pages: the input as it is, or a file that is made from it with right
// checksums, so that what lies behind them is reached. What unpacks must be as many pages of data
// as it says, inside the memory, and packed again and unpacked be the same data.
#include <fcntl.h>
#include <sys/mman.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>

#include "base/fd.hpp"
#include "state/crc32c.hpp"
#include "state/memory_file.hpp"
#include "state/pages.hpp"
#include "sys/file.hpp"

using namespace microvm;

namespace {

// Four frames of the smallest size: what is unpacked and packed is what a run takes its time for.
constexpr uint64_t kMemoryBytes = 4 * state::kMinFrameBytes;
constexpr uint64_t kMemoryPages = kMemoryBytes / state::kPageBytes;
constexpr size_t kHeaderBytes = 52;

wire::Bytes compress(size_t raw_bytes, std::byte fill) {
  const wire::Bytes raw(raw_bytes, fill);
  wire::Bytes stored(ZSTD_compressBound(raw_bytes));
  const size_t size = ZSTD_compress(stored.data(), stored.size(), raw.data(), raw.size(), 1);
  if (ZSTD_isError(size) != 0) std::abort();
  stored.resize(size);
  return stored;
}

// Appends a frame of `raw_bytes` times `fill`; its entry.
state::FrameEntry add_frame(wire::ByteWriter& frames, size_t raw_bytes, std::byte fill) {
  static std::map<std::pair<size_t, std::byte>, wire::Bytes> made;  // in earlier runs
  wire::Bytes& stored = made[{raw_bytes, fill}];
  if (stored.empty()) stored = compress(raw_bytes, fill);
  const uint64_t offset = kHeaderBytes + frames.bytes().size();
  frames.put_bytes(stored);
  return {offset, static_cast<uint32_t>(stored.size()), state::crc32c(stored)};
}

wire::Bytes sealed(uint64_t pages, uint64_t index_offset, uint32_t runs, wire::ByteView index) {
  wire::ByteWriter header;
  header.put_bytes(wire::as_bytes("MVMPAGES"));
  header.put(uint32_t{1});
  header.put(state::kMinFrameBytes);
  header.put(kMemoryBytes);
  header.put(pages);
  header.put(index_offset);
  header.put(runs);
  header.put(state::crc32c(index));
  header.put(state::crc32c(header.bytes()));
  return header.take();
}

// A file with right checksums: the input decides about runs and counts, and may change any byte of
// the index and of the frames.
wire::Bytes make_packed(wire::ByteReader& in) {
  const uint32_t runs = in.get<uint8_t>() % 8;
  wire::ByteWriter index;
  uint64_t pages = 0;
  for (uint32_t i = 0; i < runs; ++i) {
    const uint32_t count = in.get<uint8_t>() % (kMemoryPages / 2);
    index.put(uint64_t{in.get<uint8_t>()} % (kMemoryPages + 4));
    index.put(count);
    pages += count;
  }
  pages += in.get<uint8_t>() % 4 == 3 ? in.get<uint8_t>() % kMemoryPages : 0;
  wire::ByteWriter frames;
  for (uint64_t at = 0; at < pages * state::kPageBytes; at += state::kMinFrameBytes) {
    const uint64_t left = pages * state::kPageBytes - at;
    const size_t raw_bytes = std::min<uint64_t>(left, state::kMinFrameBytes);
    add_frame(frames, raw_bytes, std::byte{in.get<uint8_t>()}).encode(index);
  }
  wire::Bytes changed = index.take();
  wire::Bytes body = frames.take();
  while (in.left() >= 4) {
    wire::Bytes& part = in.get<uint8_t>() % 2 == 0 ? changed : body;
    const auto at = in.get<uint16_t>();
    const auto flip = in.get<uint8_t>();
    if (at < part.size()) part[at] ^= std::byte{flip};
  }
  wire::Bytes file = sealed(pages, kHeaderBytes + body.size(), runs, changed);
  file.insert(file.end(), body.begin(), body.end());
  file.insert(file.end(), changed.begin(), changed.end());
  return file;
}

// Made once and cut for each use: to make them takes longer than what is done with them.
class File {
 public:
  const base::Fd& of_size(uint64_t bytes) const {
    if (::ftruncate(file_.get(), 0) != 0 || !state::make_sparse(file_.get(), bytes)) std::abort();
    return file_;
  }

 private:
  base::Fd file_{::memfd_create("fuzz", MFD_CLOEXEC)};
};

// By memcmp: a loop of ours would be looked at, byte by byte, for what is compared.
bool have_same_content(const base::Fd& one, const base::Fd& other) {
  static std::array<wire::Bytes, 2> contents{wire::Bytes(kMemoryBytes), wire::Bytes(kMemoryBytes)};
  if (!sys::pread_full(one.get(), contents[0], 0)) std::abort();
  if (!sys::pread_full(other.get(), contents[1], 0)) std::abort();
  return std::memcmp(contents[0].data(), contents[1].data(), kMemoryBytes) == 0;
}

uint64_t data_pages(const base::Fd& overlay) {
  uint64_t pages = 0;
  const auto walked =
      sys::for_each_data_range(overlay.get(), [&pages](uint64_t, uint64_t length) -> Result<void> {
        pages += length / state::kPageBytes;
        return {};
      });
  if (!walked || *sys::file_size(overlay.get()) != kMemoryBytes) std::abort();
  return pages;
}

void check_packed_again(const base::Fd& overlay, uint64_t pages) {
  static const File packed_file, again_file;
  const base::Fd& packed = packed_file.of_size(0);
  const auto result =
      state::pack_pages(overlay.get(), packed.get(), {.frame_bytes = state::kMinFrameBytes});
  if (!result || result->pages != pages) std::abort();
  const base::Fd& again = again_file.of_size(kMemoryBytes);
  const auto count = state::unpack_pages(packed.get(), again.get(), kMemoryBytes);
  if (!count || count->page_count() != pages || data_pages(again) != pages) std::abort();
  if (!have_same_content(again, overlay)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const File input_file, overlay_file;
  wire::ByteReader in(std::as_bytes(std::span(data, size)));
  wire::Bytes bytes;
  if (in.get<uint8_t>() % 4 == 0) {
    const wire::ByteView raw = in.get_bytes(in.left());
    bytes.assign(raw.begin(), raw.end());
  } else {
    bytes = make_packed(in);
  }
  const base::Fd& file = input_file.of_size(0);
  if (!sys::pwrite_full(file.get(), bytes, 0)) std::abort();
  const base::Fd& overlay = overlay_file.of_size(kMemoryBytes);
  const auto count = state::unpack_pages(file.get(), overlay.get(), kMemoryBytes);
  if (!count) return 0;
  if (data_pages(overlay) != count->page_count()) std::abort();
  check_packed_again(overlay, count->page_count());
  return 0;
}
