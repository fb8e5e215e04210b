// Bytes both ways between two streams, with half-close.
#pragma once

#include "base/fd.hpp"

namespace microvm::agent {

// Returns when both directions have ended or one stream broke. A stream that breaks (and does not
// end) breaks the other, too.
void relay(base::Fd host, base::Fd tcp);

}  // namespace microvm::agent
