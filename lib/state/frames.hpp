// A memory snapshot at rest: independent zstd frames, so that any part can be read alone and all of
// it in parallel. The file is
//   header  magic "MVMFRAME", u32 format version, u32 frame bytes, u64 raw bytes, u64 index offset,
//           u32 crc32c of the index, u32 crc32c of the header so far
//   frames  each one zstd frame of `frame bytes` raw bytes (the last one: the rest), in any order
//   index   per frame: u64 file offset, u32 stored length (0: all zero), u32 crc32c of the stored
// all little-endian. The header is written last: a file whose writer died is not one. The file is
// untrusted input; checksums are checked before anything is unpacked.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "state/frame_codec.hpp"
#include "wire/bytes.hpp"

namespace microvm::state {

struct PackOptions {
  uint32_t frame_bytes = 512 * 1024;  // a power of two from kMinFrameBytes to kMaxFrameBytes
  int zstd_level = 1;
  unsigned threads = 1;
  // Asked before each frame, on its thread; borrowed.
  const std::function<Result<void>()>* may_go_on = nullptr;
};

struct PackResult {
  uint64_t raw_bytes = 0;
  uint64_t stored_bytes = 0;  // of the whole packed file
};

// Raw → at rest. `packed_fd`: an empty regular file. Neither fd is closed or synced; on failure the
// output's content is undefined. Errors: out_of_disk, io, invalid_argument.
Result<PackResult> pack_memory(int raw_fd, int packed_fd, const PackOptions& options = {});

// At rest → raw. `raw_fd`: an empty regular file; pages of zeros become holes. The raw size.
// Errors: corrupt, unsupported, out_of_disk, io.
Result<uint64_t> unpack_memory(int packed_fd, int raw_fd, unsigned threads = 1,
                               const std::function<Result<void>()>& may_go_on = {});

// Random access to a packed file.
class FrameReader {
 public:
  // The fd is borrowed. Errors: corrupt, unsupported, io.
  static Result<FrameReader> open(int packed_fd);

  [[nodiscard]] uint64_t raw_bytes() const { return raw_bytes_; }
  [[nodiscard]] uint32_t frame_bytes() const { return frame_bytes_; }
  [[nodiscard]] size_t frame_count() const { return index_.size(); }
  [[nodiscard]] bool is_hole(size_t frame) const { return index_[frame].stored_bytes == 0; }
  // Raw bytes of this frame: frame_bytes() except for the last one.
  [[nodiscard]] uint32_t frame_size(size_t frame) const;
  // Any thread. `out` is frame_size(frame) long. Errors: corrupt, io.
  Result<void> read(size_t frame, std::span<std::byte> out) const;

 private:
  int fd_ = -1;
  uint32_t frame_bytes_ = 0;
  uint64_t raw_bytes_ = 0;
  std::vector<FrameEntry> index_;

  Result<void> load_index(wire::ByteView bytes, uint64_t index_offset);
};

}  // namespace microvm::state
