// The first packet of a flow to an address that no kernel would send to, as a program in the guest
// makes it with a raw socket.
#pragma once

#include <cstdint>
#include <vector>

#include "wire/net.hpp"

namespace microvm::test {

// TCP: a SYN; UDP: a datagram of four bytes; ICMP: an echo request. With its virtio-net header.
std::vector<uint8_t> first_frame(wire::FlowProtocol protocol, uint16_t guest_port,
                                 const wire::NetEndpoint& to);

}  // namespace microvm::test
