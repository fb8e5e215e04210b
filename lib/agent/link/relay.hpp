// Bytes both ways between two streams, with half-close.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/fd.hpp"

namespace microvm::agent {

// Returns when both directions have ended or one stream broke. A stream that breaks (and does not
// end) breaks the other, too, but what the application said before is still passed on. What was
// read of either is added to `moved_bytes`.
void relay(base::Fd host, base::Fd tcp, std::atomic<uint64_t>& moved_bytes);

}  // namespace microvm::agent
