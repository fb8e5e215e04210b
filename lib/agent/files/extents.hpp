// Where a file has data and where nothing was ever written.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "wire/file_extent.hpp"

namespace microvm::agent {

using wire::FileExtent;

// Of the first `size` bytes; nothing where there is no hole, or none that the file system tells of.
// The file stands at its beginning afterwards.
// A file in more pieces than the wire has room for ends with one that runs to the end.
[[nodiscard]] std::optional<std::vector<FileExtent>> find_extents(int file, uint64_t size);

}  // namespace microvm::agent
