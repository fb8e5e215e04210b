// The body of file_extents frames: where a file has data.
#pragma once

#include <cstdint>

namespace microvm::wire {

// As it stands in the frame, little-endian as all of the wire.
struct FileExtent {
  uint64_t offset = 0;
  uint64_t size = 0;
};
static_assert(sizeof(FileExtent) == 16);

// Of one file, so that both sides can keep them.
inline constexpr uint32_t kMaxFileExtents = 1u << 18;

}  // namespace microvm::wire
