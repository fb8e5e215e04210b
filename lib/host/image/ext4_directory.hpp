// The blocks of a directory: entries one after another, a checksum at the end of each block.
#pragma once

#include <ext2fs/ext2fs.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "host/image/bytes.hpp"

namespace microvm::host {

struct DirectoryEntry {
  std::string_view name;  // 1 … 255 bytes
  uint32_t inode = 0;
  uint8_t type = EXT2_FT_UNKNOWN;
};

// Linear (not indexed): the kernel adds an index when it lets a directory grow. The checksums are
// set when the blocks are written.
[[nodiscard]] std::vector<Bytes> pack_directory(ext2_filsys fs,
                                                const std::vector<DirectoryEntry>& entries);

}  // namespace microvm::host
