// The pages a clone touches first, brought in before it runs: see state/working_set.hpp.
#pragma once

#include "base/error.hpp"
#include "vmm/machine/machine.hpp"

namespace microvm::vmm::snapshot {

// Writes what the restored machine has touched up to now into an empty file. It is paused: a vCPU
// that runs cannot be asked. Errors: unsupported (the kernel cannot tell), invalid_argument (the
// file is not empty), io.
Result<void> record_working_set(Machine& machine, int fd);

// For a machine that was restored and has not run. The file is untrusted: whatever it names, the
// guest's memory holds what it held before. What the host cannot bring in is left to the guest's
// own faults. Errors: corrupt, unsupported (a newer format), io.
Result<void> bring_in_working_set(Machine& machine, int fd);

}  // namespace microvm::vmm::snapshot
