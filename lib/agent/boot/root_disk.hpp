// The change from the initramfs to the root disk.
#pragma once

#include "agent/base/failed.hpp"

namespace microvm::agent {

// Waits for the disk, mounts it, takes /proc, /sys and /dev along, empties the initramfs and makes
// the disk the root of this process.
[[nodiscard]] Outcome<void> enter_root_disk();

}  // namespace microvm::agent
