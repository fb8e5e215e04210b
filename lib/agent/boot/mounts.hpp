// The file systems of the kernel that a program expects.
#pragma once

#include "agent/base/failed.hpp"

namespace microvm::agent {

// In the initramfs: /proc, /sys, /dev.
[[nodiscard]] Outcome<void> mount_early();

// Takes these along to the coming root.
[[nodiscard]] Outcome<void> move_early_mounts(const char* new_root);

// In the root: what lies below them, and the links of /dev.
[[nodiscard]] Outcome<void> mount_late();

}  // namespace microvm::agent
