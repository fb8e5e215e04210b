// What the guest's agent is told of its network: from the record of a Vm.
#pragma once

#include "host/network/vm_network.hpp"
#include "host/session/identity.hpp"

namespace microvm::host {

// Of a record that was read: what is no address in it is left out.
[[nodiscard]] GuestNetwork guest_network(const VmNetwork& network);

}  // namespace microvm::host
