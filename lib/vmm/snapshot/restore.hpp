// Fills a shaped machine from a snapshot.
#pragma once

#include "base/error.hpp"
#include "vmm/machine/machine.hpp"

namespace microvm::vmm::snapshot {

// The machine has its devices and has not run. Memory is mapped private, so nothing is read and the
// file must not change while the machine lives. Both files are untrusted: whatever is in them, the
// guest may be wrong, never the worker. After a failure the machine is of no further use.
// Errors: corrupt, unsupported (newer format), invalid_argument (another shape), incompatible_cpu
// (what the host lacks is in the message), io.
Result<void> restore(Machine& machine, int memory_fd, int state_fd);

}  // namespace microvm::vmm::snapshot
