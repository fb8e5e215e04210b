// The control groups: ours, and what the guest's programs see of them.
#pragma once

#include "agent/base/failed.hpp"
#include "base/fd.hpp"

namespace microvm::agent {

// In the root, before any other thread is there. Gives the directory of a group that is empty, for
// the programs' own below it (clone/freezer.hpp). To programs it is the root of all groups: what a
// container engine makes at /sys/fs/cgroup stands below it, so that it is frozen and ended as they
// are. Every controller of the kernel can be used there; this process stays outside.
[[nodiscard]] Outcome<base::Fd> set_up_cgroups();

}  // namespace microvm::agent
