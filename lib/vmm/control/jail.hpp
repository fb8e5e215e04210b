// What a worker may ask of the kernel once its machine is shaped: use the fds it has. No file can
// be opened, no program run, no thread or process made, no other process signalled, no network
// socket, no memory made executable.
#pragma once

#include "base/error.hpp"

namespace microvm::vmm::control {

// For all threads of the process, for good. A system call outside the list fails with EPERM. Error
// unsupported: this kernel has no seccomp filters.
Result<void> lock_down();

}  // namespace microvm::vmm::control
