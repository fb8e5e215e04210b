// Frames by which we answer the guest ourselves: what is refused, and echoes.
#pragma once

#include <vector>

#include "net/flow/packet.hpp"

namespace microvm::net {

using Frame = std::vector<uint8_t>;  // Ethernet, without virtio-net header

// Of a TCP SYN: connection refused.
Frame reset_of(const Packet& syn);

enum class Unreachable { host, port, prohibited };
Frame unreachable(const Packet& packet, Unreachable why);
// Of a pair whose packets we do not see.
Frame udp_port_unreachable(const wire::NetEndpoint& guest, const wire::NetEndpoint& remote);

// `message` is an ICMP message without a sound checksum.
Frame echo_reply(const wire::NetEndpoint& guest, const wire::NetEndpoint& remote,
                 FrameView message);

}  // namespace microvm::net
