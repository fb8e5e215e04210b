// Cgroups (version 2) by their directories.
#pragma once

#include <cstdint>

namespace microvm::agent {

// Waits until no process is in it, or below it. False: the time is over first.
[[nodiscard]] bool wait_until_empty(int cgroup, int64_t timeout_ms);

}  // namespace microvm::agent
