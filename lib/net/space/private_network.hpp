// The network in which the kernel itself answers the guest (DESIGN §10): every address there is
// its own, so a listener bound to the destination that the guest wants is all that a flow needs.
// Nothing leaves it; the guest's tap is its only link.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "net/space/tap.hpp"

namespace microvm::net::space {

struct PrivateNetwork {
  Tap tap;
  // Frames written here go to the guest as they are. Nothing is received by it.
  base::Fd to_guest;
  bool has_ipv6 = false;
};

// Makes the calling thread's network namespace, a new one, that network.
Result<PrivateNetwork> set_up_private_network();

}  // namespace microvm::net::space
