// Who this guest is. Clones of one snapshot are the same machine, down to the state of the kernel's
// random numbers, until this is applied; programs of the image run only after it.
#pragma once

#include "agent/link/channel.hpp"

namespace microvm::agent {

// Fields that are empty are left as they are; what cannot be applied is reported in the kernel log.
void apply_identity(int root, const microvm_agent_Identity& identity);

}  // namespace microvm::agent
