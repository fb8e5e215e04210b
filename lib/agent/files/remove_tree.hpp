// Removes what is in a directory, however deep within the bound, without following a link.
#pragma once

#include <string>

#include "agent/base/failed.hpp"

namespace microvm::agent {

inline constexpr size_t kMaxTreeDepth = 128;  // directories in directories; each is an open one

[[nodiscard]] Outcome<void> remove_content(int parent, const char* name, const std::string& shown);

}  // namespace microvm::agent
