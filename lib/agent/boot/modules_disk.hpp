// The second disk of a guest: all modules of its kernel, read-only.
#pragma once

#include <string>

#include "agent/base/failed.hpp"

namespace microvm::agent {

// /lib/modules/RELEASE
[[nodiscard]] std::string modules_directory();

// In the root: mounts it there, and makes the files in /dev that bring a driver when they are
// opened. A guest whose kernel came without such a disk has none; then this does nothing.
[[nodiscard]] Outcome<void> mount_modules_disk();

}  // namespace microvm::agent
