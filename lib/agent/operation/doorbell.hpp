// The connection to the host that says "I am here" after a boot and after a restore.
#pragma once

#include "agent/link/channel.hpp"
#include "agent/operation/guest.hpp"

namespace microvm::agent {

// One connection: announces the guest, then applies each identity the host sends, lets programs run
// and reports ready. Freezes and thaws where the host asks for that here, and ends such a freeze
// with the connection (run_freeze() says what that is for). Returns when the connection ends.
void serve_doorbell(Guest& guest, Channel channel);

// For ever. A restore resets the connection, and the clone announces itself within microseconds.
[[noreturn]] void keep_doorbell(Guest& guest);

}  // namespace microvm::agent
