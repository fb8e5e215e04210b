// A user namespace of our own: it gives the right to make a network, and takes those away that root
// has on the host.
#pragma once

#include "base/error.hpp"

namespace microvm::net::space {

// The whole process, which has one thread; users and groups keep their numbers. Errors:
// unsupported, permission_denied (the message says which setting of the host is in the way).
Result<void> enter_user_namespace();

// Only the calling thread, which is in such a user namespace.
Result<void> enter_network_namespace();

// Of the calling thread, for good.
Result<void> drop_capabilities();

}  // namespace microvm::net::space
