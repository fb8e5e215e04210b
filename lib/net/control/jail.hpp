// What microvm-net may ask of the kernel once its network is up: sockets of the internet's
// families, and the fds it has. No file can be opened, no program run, no process or thread made,
// no namespace entered, no memory made executable.
#pragma once

#include "base/error.hpp"

namespace microvm::net {

// For all threads of the process, for good; the calling one has no capabilities afterwards. A
// system call outside the list fails with EPERM. Error unsupported: this kernel has no seccomp
// filters.
Result<void> lock_down();

}  // namespace microvm::net
