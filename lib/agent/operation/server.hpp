// Takes the host's operations, one thread for each.
#pragma once

#include "agent/operation/guest.hpp"
#include "base/fd.hpp"

namespace microvm::agent {

inline constexpr int kMaxOperations = 512;

[[noreturn]] void serve_operations(Guest& guest, base::Fd listener);

}  // namespace microvm::agent
