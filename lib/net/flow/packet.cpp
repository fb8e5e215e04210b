#include "net/flow/packet.hpp"

#include <netinet/in.h>

#include <algorithm>

#include "wire/net_addresses.hpp"

namespace microvm::net {
namespace {

constexpr size_t kVnetHeaderBytes = 12;
constexpr size_t kEthernetBytes = 14;
constexpr size_t kUdpBytes = 8;
constexpr uint16_t kTypeIpv4 = 0x0800;
constexpr uint16_t kTypeIpv6 = 0x86dd;

uint16_t word_at(FrameView bytes, size_t offset) {
  return static_cast<uint16_t>(bytes[offset] << 8 | bytes[offset + 1]);
}

std::array<uint8_t, 16> mapped(std::span<const uint8_t, 4> address) {
  std::array<uint8_t, 16> all{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  std::ranges::copy(address, all.begin() + 12);
  return all;
}

// RFC 791 §3.1. Offset of what is in it; none: not sound, or a later fragment, which names no port.
std::optional<size_t> read_ipv4(Packet& packet, uint8_t& protocol) {
  const FrameView ip = packet.ip;
  if (ip.size() < 20 || ip[0] >> 4 != 4) return {};
  const size_t header = (ip[0] & 0xfu) * 4;
  const size_t length = word_at(ip, 2);
  if (header < 20 || length < header || ip.size() < length) return {};
  const uint16_t fragment = word_at(ip, 6);
  if ((fragment & 0x1fff) != 0) return {};
  packet.is_fragment = (fragment & 0x2000) != 0;
  protocol = ip[9];
  packet.guest.address = mapped(ip.subspan<12, 4>());
  packet.remote.address = mapped(ip.subspan<16, 4>());
  packet.ip = ip.first(length);
  return header;
}

// RFC 8200 §3. No extension headers: no flow that is asked for begins with them.
std::optional<size_t> read_ipv6(Packet& packet, uint8_t& protocol) {
  constexpr size_t kHeader = 40;
  const FrameView ip = packet.ip;
  if (ip.size() < kHeader || ip[0] >> 4 != 6) return {};
  const size_t length = kHeader + word_at(ip, 4);
  if (ip.size() < length) return {};
  packet.is_ipv6 = true;
  protocol = ip[6];
  std::ranges::copy(ip.subspan(8, 16), packet.guest.address.begin());
  std::ranges::copy(ip.subspan(24, 16), packet.remote.address.begin());
  packet.ip = ip.first(length);
  // Else it would be an IPv4 address for all that follows.
  if (is_ipv4(packet.remote)) return {};
  return kHeader;
}

void read_ports(Packet& packet, FrameView transport) {
  packet.guest.port = word_at(transport, 0);
  packet.remote.port = word_at(transport, 2);
}

bool read_tcp(Packet& packet, FrameView transport) {
  constexpr uint8_t kSyn = 0x02;
  constexpr uint8_t kAck = 0x10;
  if (transport.size() < 20 || (transport[13] & (kSyn | kAck)) != kSyn) return false;
  const size_t header = (transport[12] >> 4u) * 4;
  if (header < 20 || header > transport.size()) return false;
  packet.protocol = wire::FlowProtocol::tcp;
  read_ports(packet, transport);
  packet.tcp_sequence = static_cast<uint32_t>(word_at(transport, 4)) << 16 | word_at(transport, 6);
  packet.payload = transport.subspan(header);
  return packet.remote.port != 0;
}

bool read_udp(Packet& packet, FrameView transport) {
  if (transport.size() < kUdpBytes) return false;
  packet.protocol = wire::FlowProtocol::udp;
  read_ports(packet, transport);
  const size_t length = word_at(transport, 4);
  if (length < kUdpBytes) return false;
  packet.payload = transport.subspan(kUdpBytes);
  if (length - kUdpBytes < packet.payload.size()) {
    packet.payload = packet.payload.first(length - kUdpBytes);
  }
  packet.is_fragment = packet.is_fragment || packet.payload.size() != length - kUdpBytes;
  return packet.remote.port != 0 && packet.guest.port != 0;
}

bool read_echo(Packet& packet, FrameView transport) {
  const uint8_t echo_request = packet.is_ipv6 ? 128 : 8;
  if (transport.size() < 8 || transport[0] != echo_request || transport[1] != 0) return false;
  packet.protocol = wire::FlowProtocol::icmp;
  packet.guest.port = word_at(transport, 4);
  packet.payload = transport;
  return !packet.is_fragment;
}

bool read_transport(Packet& packet, uint8_t protocol, FrameView transport) {
  switch (protocol) {
    case IPPROTO_TCP:
      return read_tcp(packet, transport);
    case IPPROTO_UDP:
      return read_udp(packet, transport);
    case IPPROTO_ICMP:
      return !packet.is_ipv6 && read_echo(packet, transport);
    case IPPROTO_ICMPV6:
      return packet.is_ipv6 && read_echo(packet, transport);
    default:
      return false;
  }
}

}  // namespace

std::optional<Packet> read_first_packet(FrameView frame) {
  if (frame.size() < kVnetHeaderBytes + kEthernetBytes) return {};
  const uint16_t type = word_at(frame, kVnetHeaderBytes + 12);
  Packet packet;
  packet.ip = frame.subspan(kVnetHeaderBytes + kEthernetBytes);
  uint8_t protocol = 0;
  std::optional<size_t> header;
  if (type == kTypeIpv4) header = read_ipv4(packet, protocol);
  if (type == kTypeIpv6) header = read_ipv6(packet, protocol);
  if (!header || !read_transport(packet, protocol, packet.ip.subspan(*header))) return {};
  if (packet.guest != guest_endpoint(packet.is_ipv6, packet.guest.port)) return {};
  return packet;
}

bool is_ipv4(const wire::NetEndpoint& endpoint) {
  constexpr std::array<uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return std::equal(kMapped.begin(), kMapped.end(), endpoint.address.begin());
}

wire::NetEndpoint guest_endpoint(bool is_ipv6, uint16_t port) {
  return {is_ipv6 ? wire::kGuestIpv6 : mapped(wire::kGuestIpv4), port};
}

wire::NetEndpoint resolver_endpoint(bool is_ipv6, uint16_t port) {
  return {is_ipv6 ? wire::kResolverIpv6 : mapped(wire::kResolverIpv4), port};
}

}  // namespace microvm::net
