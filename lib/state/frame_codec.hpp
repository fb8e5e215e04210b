// What the packed files of this folder are made of: independent zstd frames, each with an entry in
// the file's index, packed and unpacked on several threads. Which raw bytes a frame stands for is
// the business of the file's format (frames.hpp, pages.hpp).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/error.hpp"
#include "wire/bytes.hpp"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace microvm::state {

inline constexpr uint32_t kMinFrameBytes = 64 * 1024;
inline constexpr uint32_t kMaxFrameBytes = 2 * 1024 * 1024;

// A power of two from kMinFrameBytes to kMaxFrameBytes.
[[nodiscard]] bool valid_frame_bytes(uint32_t frame_bytes) noexcept;
// How many frames hold `raw_bytes`, which is at most kMaxMemoryBytes; the last may be short.
[[nodiscard]] size_t frame_count_for(uint64_t raw_bytes, uint32_t frame_bytes) noexcept;

// Error invalid_argument unless the fd is a regular file; `what` begins the message.
Result<uint64_t> regular_file_size(int fd, const std::string& what);

// Where a frame is stored. In a file: u64 offset, u32 stored length, u32 crc32c of the stored.
struct FrameEntry {
  static constexpr size_t kEncodedBytes = 16;

  uint64_t offset = 0;
  uint32_t stored_bytes = 0;
  uint32_t checksum = 0;

  void encode(wire::ByteWriter& out) const;
  static FrameEntry decode(wire::ByteReader& in);
  // The frame lies inside [begin, end) of its file and is no longer than a frame can get.
  [[nodiscard]] bool fits(uint64_t begin, uint64_t end, uint32_t frame_bytes) const noexcept;
};

// Packs frames. For one thread; several append to one file through the shared end of it.
class FrameEncoder {
 public:
  FrameEncoder(uint32_t frame_bytes, int zstd_level);

  // Room for one frame's raw bytes: fill its beginning, then append that.
  [[nodiscard]] std::span<std::byte> raw() { return raw_; }
  // Writes the frame at `end` and moves that on. Errors: out_of_disk, out_of_memory, io.
  Result<FrameEntry> append(wire::ByteView raw, int fd, std::atomic<uint64_t>& end);

 private:
  struct Free {
    void operator()(ZSTD_CCtx_s* context) const noexcept;
  };
  std::unique_ptr<ZSTD_CCtx_s, Free> context_;
  int zstd_level_;
  wire::Bytes raw_;
  wire::Bytes stored_;
};

// Unpacks frames. For one thread.
class FrameDecoder {
 public:
  FrameDecoder();

  // `out` is exactly as long as the frame's raw bytes; the entry was found to fit. The checksum is
  // checked before anything is unpacked. Errors: corrupt, out_of_memory, io.
  Result<void> read(int fd, const FrameEntry& entry, std::span<std::byte> out);

 private:
  struct Free {
    void operator()(ZSTD_DCtx_s* context) const noexcept;
  };
  std::unique_ptr<ZSTD_DCtx_s, Free> context_;
  wire::Bytes stored_;
};

// Calls `work(frame)` for every frame on some threads; the first failure stops all of them.
// `make_work` is called once per thread, for its buffers.
using FrameWork = std::function<Result<void>(size_t frame)>;
Result<void> for_each_frame(size_t count, unsigned threads,
                            const std::function<FrameWork()>& make_work);

}  // namespace microvm::state
