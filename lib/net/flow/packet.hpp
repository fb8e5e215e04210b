// What a first packet says of its flow. The worker has looked at it, but is believed nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "wire/net.hpp"

namespace microvm::net {

using FrameView = std::span<const uint8_t>;

struct Packet {
  wire::FlowProtocol protocol = wire::FlowProtocol::tcp;
  bool is_ipv6 = false;
  bool is_fragment = false;
  wire::NetEndpoint guest;   // an echo request: its identifier in the place of a port
  wire::NetEndpoint remote;  // and 0
  uint32_t tcp_sequence = 0;
  FrameView ip;       // from the IP header on, as long as that says
  FrameView payload;  // behind the header of TCP, UDP; ICMP: all of the message
};

// Of a frame with its virtio-net header: a TCP SYN without ACK, a UDP datagram or an echo request,
// from the guest's address. None: anything else.
std::optional<Packet> read_first_packet(FrameView frame);

[[nodiscard]] bool is_ipv4(const wire::NetEndpoint& endpoint);  // ::ffff:a.b.c.d
[[nodiscard]] wire::NetEndpoint guest_endpoint(bool is_ipv6, uint16_t port);
[[nodiscard]] wire::NetEndpoint resolver_endpoint(bool is_ipv6, uint16_t port);

}  // namespace microvm::net
