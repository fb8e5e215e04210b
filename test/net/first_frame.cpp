#include "net/first_frame.hpp"

#include <netinet/in.h>

#include <span>

#include "net/flow/packet.hpp"
#include "wire/net_addresses.hpp"

namespace microvm::test {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t kHeaderOfVirtioNet = 12;

void put16(Bytes& out, size_t value) {
  out.push_back(static_cast<uint8_t>(value >> 8));
  out.push_back(static_cast<uint8_t>(value));
}

void put(Bytes& out, std::span<const uint8_t> bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

// RFC 1071
uint16_t checksum(std::span<const uint8_t> bytes, uint32_t sum = 0) {
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) sum += bytes[i] * 256u + bytes[i + 1];
  while (sum > 0xffff) sum = (sum >> 16) + (sum & 0xffff);
  return static_cast<uint16_t>(~sum);
}

Bytes tcp_syn(uint16_t from, uint16_t to) {
  Bytes out;
  put16(out, from);
  put16(out, to);
  put(out, Bytes{0, 0, 1, 0, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0});
  return out;
}

Bytes udp_datagram(uint16_t from, uint16_t to) {
  Bytes out;
  put16(out, from);
  put16(out, to);
  put(out, Bytes{0, 12, 0, 0, 'p', 'i', 'n', 'g'});
  return out;
}

Bytes echo_request(uint16_t identifier, bool is_ipv6) {
  Bytes out{static_cast<uint8_t>(is_ipv6 ? 128 : 8), 0, 0, 0};
  put16(out, identifier);
  put(out, Bytes{0, 1, 'p', 'i', 'n', 'g'});
  return out;
}

uint8_t number_of(wire::FlowProtocol protocol, bool is_ipv6) {
  if (protocol == wire::FlowProtocol::tcp) return IPPROTO_TCP;
  if (protocol == wire::FlowProtocol::udp) return IPPROTO_UDP;
  if (is_ipv6) return IPPROTO_ICMPV6;
  return IPPROTO_ICMP;
}

Bytes ipv4(uint8_t number, const wire::NetEndpoint& to, const Bytes& payload) {
  Bytes out{0x45, 0};
  put16(out, 20 + payload.size());
  put(out, Bytes{0, 1, 0, 0, 64, number, 0, 0});
  put(out, wire::kGuestIpv4);
  put(out, std::span(to.address).last<4>());
  const uint16_t sum = checksum(out);
  out[10] = static_cast<uint8_t>(sum >> 8);
  out[11] = static_cast<uint8_t>(sum);
  put(out, payload);
  return out;
}

Bytes ipv6(uint8_t number, const wire::NetEndpoint& to, const Bytes& payload) {
  Bytes out{0x60, 0, 0, 0};
  put16(out, payload.size());
  put(out, Bytes{number, 64});
  put(out, wire::kGuestIpv6);
  put(out, to.address);
  put(out, payload);
  return out;
}

Bytes payload_of(wire::FlowProtocol protocol, uint16_t from, uint16_t to, bool is_ipv6) {
  if (protocol == wire::FlowProtocol::tcp) return tcp_syn(from, to);
  if (protocol == wire::FlowProtocol::udp) return udp_datagram(from, to);
  return echo_request(from, is_ipv6);
}

}  // namespace

std::vector<uint8_t> first_frame(wire::FlowProtocol protocol, uint16_t guest_port,
                                 const wire::NetEndpoint& to) {
  const bool is_ipv6 = !net::is_ipv4(to);
  Bytes frame(kHeaderOfVirtioNet);
  put(frame, wire::kGatewayMac);
  put(frame, wire::kGuestMac);
  put16(frame, is_ipv6 ? 0x86dd : 0x0800);
  const Bytes payload = payload_of(protocol, guest_port, to.port, is_ipv6);
  const uint8_t number = number_of(protocol, is_ipv6);
  put(frame, is_ipv6 ? ipv6(number, to, payload) : ipv4(number, to, payload));
  return frame;
}

}  // namespace microvm::test
