#include "net/flow/packet.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "wire/net_addresses.hpp"

using namespace microvm;
using namespace microvm::net;

namespace {

using Bytes = std::vector<uint8_t>;

void append(Bytes& to, const auto& bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

// With the headers before it; 1.2.3.4 or 2001::1.
Bytes frame(bool is_ipv6, uint8_t protocol, const Bytes& transport) {
  Bytes made(12 + 12);
  const auto length = static_cast<uint8_t>(transport.size() + (is_ipv6 ? 0 : 20));
  if (is_ipv6) {
    append(made, Bytes{0x86, 0xdd, 0x60, 0, 0, 0, 0, length, protocol, 64});
    append(made, wire::kGuestIpv6);
    append(made, Bytes{0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
  } else {
    append(made, Bytes{8, 0, 0x45, 0, 0, length, 0, 0, 0x40, 0, 64, protocol, 0, 0});
    append(made, wire::kGuestIpv4);
    append(made, Bytes{1, 2, 3, 4});
  }
  append(made, transport);
  return made;
}

Bytes syn() {
  return {0x30, 0x39, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0};
}
Bytes datagram() {
  return {0x30, 0x39, 0, 53, 0, 10, 0, 0, 'h', 'i'};
}
Bytes echo(uint8_t type) {
  return {type, 0, 0, 0, 0x12, 0x34, 0, 1, 'x'};
}

constexpr size_t kIp = 26;
constexpr size_t kTransport4 = kIp + 20;

}  // namespace

TEST_CASE("first packets: what a flow is called by") {
  for (const bool is_ipv6 : {false, true}) {
    CAPTURE(is_ipv6);
    const Bytes of_tcp = frame(is_ipv6, 6, syn());
    const auto tcp = read_first_packet(of_tcp);
    REQUIRE(tcp);
    CHECK(tcp->protocol == wire::FlowProtocol::tcp);
    CHECK(tcp->guest == guest_endpoint(is_ipv6, 12345));
    CHECK(tcp->remote.port == 80);
    CHECK(tcp->remote.address[15] == (is_ipv6 ? 1 : 4));
    CHECK(tcp->tcp_sequence == 0x01020304);
    const Bytes of_udp = frame(is_ipv6, 17, datagram());
    const auto udp = read_first_packet(of_udp);
    REQUIRE(udp);
    CHECK(udp->protocol == wire::FlowProtocol::udp);
    CHECK(udp->payload.size() == 2);
    const Bytes of_icmp = frame(is_ipv6, is_ipv6 ? 58 : 1, echo(is_ipv6 ? 128 : 8));
    const auto icmp = read_first_packet(of_icmp);
    REQUIRE(icmp);
    CHECK(icmp->protocol == wire::FlowProtocol::icmp);
    CHECK(icmp->guest.port == 0x1234);
    CHECK(icmp->remote.port == 0);
  }
}

TEST_CASE("first packets: cut anywhere, they are none, and nothing is read past the end") {
  for (const bool is_ipv6 : {false, true}) {
    for (const Bytes& whole : {frame(is_ipv6, 6, syn()), frame(is_ipv6, 17, datagram())}) {
      for (size_t size = 0; size < whole.size(); ++size) {
        const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
        CHECK_FALSE(read_first_packet(cut));
      }
    }
  }
}

TEST_CASE("first packets: what begins no flow, or is another's, is none") {
  const auto changed = [](size_t at, uint8_t value, bool is_ipv6 = false) {
    Bytes made = frame(is_ipv6, 6, syn());
    made.at(at) = value;
    return read_first_packet(made).has_value();
  };
  CHECK(changed(kTransport4 + 13, 0x02));
  CHECK_FALSE(changed(kTransport4 + 13, 0x12));  // SYN and ACK
  CHECK_FALSE(changed(kTransport4 + 13, 0x10));
  CHECK_FALSE(changed(kTransport4 + 12, 0x40));  // a header shorter than one is
  CHECK_FALSE(changed(kTransport4 + 12, 0xf0));  // and longer than the packet
  CHECK_FALSE(changed(kTransport4 + 3, 0));      // port 0
  CHECK_FALSE(changed(kIp, 0x44));               // IP header too short
  CHECK_FALSE(changed(kIp, 0x65));               // another version
  CHECK_FALSE(changed(kIp + 7, 1));              // a later fragment
  CHECK_FALSE(changed(kIp + 12, 11));            // from another address
  CHECK_FALSE(changed(kIp + 9, 47));             // another protocol
  CHECK_FALSE(changed(kIp - 2, 9));              // another type of frame
  CHECK_FALSE(changed(kIp + 6, 0, true));        // hop-by-hop options first
  const Bytes reply = frame(false, 1, echo(0));
  CHECK_FALSE(read_first_packet(reply));
}

TEST_CASE("first packets: an IPv4 address inside IPv6 is no address of a flow") {
  Bytes made = frame(true, 6, syn());
  const Bytes mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};
  std::copy(mapped.begin(), mapped.end(), made.begin() + kIp + 24);
  CHECK_FALSE(read_first_packet(made));
}
