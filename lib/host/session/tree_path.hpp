// Paths that come from the agent, relative to something it was asked for.
#pragma once

#include <cstddef>
#include <string_view>

namespace microvm::host {

inline constexpr size_t kMaxNameBytes = 255;
inline constexpr size_t kMaxPathDepth = 256;  // of a tree that is carried

inline bool is_clean_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.size() <= kMaxNameBytes;
}

// Nothing that a directory of the host could be left with.
inline bool is_clean_path(std::string_view path, size_t max_depth = kMaxPathDepth) {
  for (size_t depth = 0; depth < max_depth; ++depth) {
    const size_t slash = path.find('/');
    if (!is_clean_name(path.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
  return false;
}

}  // namespace microvm::host
