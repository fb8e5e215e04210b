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

// Once all are there: what is mounted later is seen in copies of this view that want to.
[[nodiscard]] Outcome<void> share_mounts();

}  // namespace microvm::agent
