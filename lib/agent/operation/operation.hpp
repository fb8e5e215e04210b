// One operation of the host on its own connection, from its first frame to its reply.
#pragma once

#include "agent/operation/guest.hpp"
#include "base/fd.hpp"

namespace microvm::agent {

// Works on any connected stream; returns when the operation is over.
void serve_operation(Guest& guest, base::Fd connection);

}  // namespace microvm::agent
