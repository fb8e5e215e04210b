// The state of a quiesced machine as the bytes of a state file: everything but memory and disks.
#pragma once

#include "base/error.hpp"
#include "vmm/machine/machine.hpp"
#include "wire/bytes.hpp"

namespace microvm::vmm::snapshot {

// Error invalid_argument unless it is an empty regular file.
Result<void> check_state_file(int fd);

// The clocks are those of the moment at which the machine stopped. Errors: vm_gone, busy (not
// quiesced), those of KVM.
Result<wire::Bytes> collect_state(Machine& machine);

}  // namespace microvm::vmm::snapshot
