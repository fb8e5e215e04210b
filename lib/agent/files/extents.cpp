#include "agent/files/extents.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace microvm::agent {
namespace {

bool has_hole(int file, uint64_t size) {
  const off_t hole = lseek(file, 0, SEEK_HOLE);
  return hole >= 0 && static_cast<uint64_t>(hole) < size;
}

std::optional<std::vector<FileExtent>> list_extents(int file, uint64_t size) {
  if (!has_hole(file, size)) return std::nullopt;
  std::vector<FileExtent> extents;
  for (uint64_t at = 0; at < size;) {
    const off_t data = lseek(file, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // no data from here to the end
    if (data < 0) return std::nullopt;
    const auto begin = static_cast<uint64_t>(data);
    if (begin >= size) break;
    const off_t hole = lseek(file, data, SEEK_HOLE);
    if (hole <= data) return std::nullopt;
    const bool is_last = extents.size() + 1 == wire::kMaxFileExtents;
    const uint64_t end = is_last ? size : std::min(static_cast<uint64_t>(hole), size);
    extents.push_back({begin, end - begin});
    at = end;
  }
  return extents;
}

}  // namespace

std::optional<std::vector<FileExtent>> find_extents(int file, uint64_t size) {
  if (size == 0) return std::nullopt;
  auto extents = list_extents(file, size);
  lseek(file, 0, SEEK_SET);  // fails only where the looking did not move it either
  return extents;
}

}  // namespace microvm::agent
