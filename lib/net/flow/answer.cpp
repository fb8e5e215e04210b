#include "net/flow/answer.hpp"

#include <netinet/in.h>

#include <algorithm>

#include "wire/net_addresses.hpp"

namespace microvm::net {
namespace {

constexpr size_t kMostOfTheRefused = 128;  // bytes of the packet that an ICMP error returns
constexpr uint8_t kHops = 64;

void put16(Frame& out, unsigned value) {
  out.push_back(static_cast<uint8_t>(value >> 8));
  out.push_back(static_cast<uint8_t>(value));
}
void put32(Frame& out, uint32_t value) {
  put16(out, value >> 16);
  put16(out, value & 0xffff);
}
template <class Range>
void put_all(Frame& out, const Range& bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}
void set16(Frame& out, size_t offset, unsigned value) {
  out[offset] = static_cast<uint8_t>(value >> 8);
  out[offset + 1] = static_cast<uint8_t>(value);
}

// RFC 1071.
class Checksum {
 public:
  void add(FrameView bytes) {
    for (size_t i = 0; i < bytes.size(); ++i) sum_ += i % 2 == 0 ? bytes[i] << 8u : bytes[i];
  }
  void add(uint32_t value) { sum_ += value; }
  [[nodiscard]] uint16_t value() const {
    uint64_t folded = sum_;
    while (folded >> 16 != 0) folded = (folded & 0xffff) + (folded >> 16);
    return static_cast<uint16_t>(~folded);
  }

 private:
  uint64_t sum_ = 0;
};

FrameView address_bytes(const wire::NetEndpoint& endpoint) {
  const FrameView all(endpoint.address);
  return is_ipv4(endpoint) ? all.last(4) : all;
}

void put_ipv4_header(Frame& out, const wire::NetEndpoint& from, const wire::NetEndpoint& to,
                     uint8_t protocol, size_t payload) {
  const size_t begin = out.size();
  put16(out, 0x4500);
  put16(out, static_cast<unsigned>(20 + payload));
  put32(out, 0x4000);  // don't fragment
  put16(out, static_cast<unsigned>(kHops << 8 | protocol));
  put16(out, 0);
  put_all(out, address_bytes(from));
  put_all(out, address_bytes(to));
  Checksum sum;
  sum.add(FrameView(out).subspan(begin));
  set16(out, begin + 10, sum.value());
}

void put_ipv6_header(Frame& out, const wire::NetEndpoint& from, const wire::NetEndpoint& to,
                     uint8_t protocol, size_t payload) {
  put32(out, 6u << 28);
  put16(out, static_cast<unsigned>(payload));
  put16(out, static_cast<unsigned>(protocol << 8 | kHops));
  put_all(out, from.address);
  put_all(out, to.address);
}

void put_ip_header(Frame& out, const wire::NetEndpoint& from, const wire::NetEndpoint& to,
                   uint8_t protocol, size_t payload) {
  (is_ipv4(to) ? put_ipv4_header : put_ipv6_header)(out, from, to, protocol, payload);
}

// To the guest; the checksum, at this place of `body`, is of the pseudo header too, except
// ICMPv4's.
Frame packet_to(const wire::NetEndpoint& guest, const wire::NetEndpoint& remote, uint8_t protocol,
                Frame body, size_t checksum_at) {
  set16(body, checksum_at, 0);
  Checksum sum;
  sum.add(body);
  if (protocol != IPPROTO_ICMP) {
    sum.add(address_bytes(remote));
    sum.add(address_bytes(guest));
    sum.add(static_cast<uint32_t>(body.size()));
    sum.add(protocol);
  }
  set16(body, checksum_at, sum.value());
  Frame frame;
  put_all(frame, wire::kGuestMac);
  put_all(frame, wire::kGatewayMac);
  put16(frame, is_ipv4(guest) ? 0x0800 : 0x86dd);
  put_ip_header(frame, remote, guest, protocol, body.size());
  put_all(frame, body);
  return frame;
}

uint8_t icmp_of(const wire::NetEndpoint& endpoint) {
  if (is_ipv4(endpoint)) return IPPROTO_ICMP;
  return IPPROTO_ICMPV6;
}

// RFC 792 and RFC 4443 §3.1: type and code.
unsigned unreachable_word(bool is_ipv6, Unreachable why) {
  switch (why) {
    case Unreachable::host:
      return is_ipv6 ? 0x0103 : 0x0301;
    case Unreachable::port:
      return is_ipv6 ? 0x0104 : 0x0303;
    case Unreachable::prohibited:
      break;
  }
  return is_ipv6 ? 0x0101 : 0x030d;
}

// As the host itself says of a port, and the gateway of what it does not pass on.
wire::NetEndpoint sender_of(const wire::NetEndpoint& remote, Unreachable why) {
  if (why == Unreachable::port) return remote;
  wire::NetEndpoint gateway = remote;
  if (!is_ipv4(remote)) {
    gateway.address = wire::kGatewayIpv6;
  } else {
    std::ranges::copy(wire::kGatewayIpv4, gateway.address.begin() + 12);
  }
  return gateway;
}

Frame unreachable_frame(const wire::NetEndpoint& guest, const wire::NetEndpoint& remote,
                        FrameView refused, Unreachable why) {
  Frame body;
  put16(body, unreachable_word(!is_ipv4(guest), why));
  put16(body, 0);
  put32(body, 0);
  put_all(body, refused.first(std::min(refused.size(), kMostOfTheRefused)));
  return packet_to(guest, sender_of(remote, why), icmp_of(guest), std::move(body), 2);
}

}  // namespace

Frame reset_of(const Packet& syn) {
  constexpr unsigned kHeaderWordsRstAck = 0x5014;
  Frame body;
  put16(body, syn.remote.port);
  put16(body, syn.guest.port);
  put32(body, 0);
  put32(body, syn.tcp_sequence + 1 + static_cast<uint32_t>(syn.payload.size()));
  put16(body, kHeaderWordsRstAck);
  put16(body, 0);
  put32(body, 0);
  return packet_to(syn.guest, syn.remote, IPPROTO_TCP, std::move(body), 16);
}

Frame unreachable(const Packet& packet, Unreachable why) {
  return unreachable_frame(packet.guest, packet.remote, packet.ip, why);
}

Frame udp_port_unreachable(const wire::NetEndpoint& guest, const wire::NetEndpoint& remote) {
  Frame refused;
  put_ip_header(refused, guest, remote, IPPROTO_UDP, 8);
  put16(refused, guest.port);
  put16(refused, remote.port);
  put16(refused, 8);
  put16(refused, 0);
  return unreachable_frame(guest, remote, refused, Unreachable::port);
}

Frame echo_reply(const wire::NetEndpoint& guest, const wire::NetEndpoint& remote,
                 FrameView message) {
  constexpr size_t kHeader = 8;
  if (message.size() < kHeader) return {};
  Frame body(message.begin(), message.end());
  body[0] = is_ipv4(guest) ? 0 : 129;
  body[1] = 0;
  set16(body, 4, guest.port);
  return packet_to(guest, remote, icmp_of(guest), std::move(body), 2);
}

}  // namespace microvm::net
