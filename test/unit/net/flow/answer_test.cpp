#include "net/flow/answer.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

using namespace microvm;
using namespace microvm::net;

namespace {

constexpr size_t kEthernet = 14;

uint32_t sum(FrameView bytes) {
  uint32_t all = 0;
  for (size_t i = 0; i < bytes.size(); ++i) all += i % 2 == 0 ? bytes[i] << 8u : bytes[i];
  return all;
}
bool folds_to_ones(uint64_t all) {
  while (all >> 16 != 0) all = (all & 0xffff) + (all >> 16);
  return all == 0xffff;
}

// Of what is behind the IP header, with the pseudo header unless it is ICMPv4's.
bool has_sound_checksums(const Frame& frame) {
  const FrameView ip = FrameView(frame).subspan(kEthernet);
  const bool v4 = ip[0] >> 4 == 4;
  const FrameView body = ip.subspan(v4 ? 20 : 40);
  const uint8_t protocol = v4 ? ip[9] : ip[6];
  if (v4 && !folds_to_ones(sum(ip.first(20)))) return false;
  if (v4 && protocol == 1) return folds_to_ones(sum(body));
  const FrameView addresses = v4 ? ip.subspan(12, 8) : ip.subspan(8, 32);
  return folds_to_ones(uint64_t{sum(body)} + sum(addresses) + body.size() + protocol);
}

Packet packet_of(bool is_ipv6, const std::vector<uint8_t>& ip) {
  Packet packet;
  packet.is_ipv6 = is_ipv6;
  packet.guest = guest_endpoint(is_ipv6, 12345);
  packet.remote = resolver_endpoint(is_ipv6, 80);
  packet.tcp_sequence = 0xfffffffe;
  packet.ip = ip;
  return packet;
}

}  // namespace

TEST_CASE("answers have sound checksums, of odd sizes too") {
  const std::vector<uint8_t> refused(61, 0xab);
  for (const bool is_ipv6 : {false, true}) {
    const Packet packet = packet_of(is_ipv6, refused);
    CHECK(has_sound_checksums(reset_of(packet)));
    for (const auto why : {Unreachable::host, Unreachable::port, Unreachable::prohibited}) {
      CHECK(has_sound_checksums(unreachable(packet, why)));
    }
    CHECK(has_sound_checksums(udp_port_unreachable(packet.guest, packet.remote)));
    CHECK(has_sound_checksums(echo_reply(packet.guest, packet.remote, refused)));
  }
}

TEST_CASE("a reset acknowledges the SYN and what came with it") {
  const std::vector<uint8_t> data(3);
  Packet packet = packet_of(false, data);
  packet.payload = data;
  const Frame frame = reset_of(packet);
  const std::vector<uint8_t> expected{0, 0, 0, 2};
  CHECK(std::equal(expected.begin(), expected.end(), frame.begin() + kEthernet + 20 + 8));
}

TEST_CASE("an answer is bounded, and a message too short is no echo") {
  const std::vector<uint8_t> huge(65'000);
  CHECK(unreachable(packet_of(true, huge), Unreachable::host).size() < 256);
  CHECK(echo_reply(guest_endpoint(false, 1), resolver_endpoint(false, 0), std::vector<uint8_t>(7))
            .empty());
}
