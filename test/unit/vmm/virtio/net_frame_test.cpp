#include "vmm/virtio/net_frame.hpp"

#include <doctest/doctest.h>

#include "vmm/virtio/frames.hpp"
#include "vmm/virtio/net_pairs.hpp"

using namespace microvm;
using namespace microvm::test;
using namespace microvm::vmm;

namespace {

using Builder = FrameBuilder;
constexpr wire::Ipv6Address kNobody{};
constexpr wire::Ipv6Address kLinkLocal{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 1};
constexpr uint64_t kAll = kNetCsum | kNetHostTso4 | kNetHostTso6;

FrameKind kind(const FrameBytes& bytes) {
  return classify(frame_of(bytes)).kind;
}
FrameKind kind(const FrameBytes& bytes, const NetHeader& header) {
  return classify(frame_of(bytes, header)).kind;
}

FrameBytes icmp(unsigned type, unsigned fragment = 0) {
  return Builder(kIpv4Type).ipv4(1, 8, fragment).u8(type).fill(7);
}
FrameBytes icmpv6(unsigned type, const wire::Ipv6Address& from) {
  return Builder(kIpv6Type).ipv6(58, 8, from).u8(type).fill(7);
}
FrameBytes arp(const wire::MacAddress& mac, const wire::Ipv4Address& from,
               const wire::Ipv4Address& to) {
  return Builder(kArpType).u16(1).u16(kIpv4Type).u16(0x0604).u16(1).add(mac).add(from).fill(6).add(
      to);
}

bool takes(NetHeader header, size_t bytes = 2000, uint64_t features = kAll) {
  Frame frame{header, {}, bytes};
  return take_offloads(frame, features);
}

}  // namespace

TEST_CASE("net frame: first packets of flows are told from those that follow") {
  CHECK(kind(syn_frame()) == FrameKind::first);
  CHECK(kind(ack_frame()) == FrameKind::pass);
  CHECK(kind(Builder(kIpv4Type).ipv4(6, 20).tcp(kSynFlag | kAckFlag)) == FrameKind::pass);
  CHECK(kind(Builder(kIpv4Type).ipv4(6, 20).tcp(4)) == FrameKind::pass);
  CHECK(kind(Builder(kIpv6Type).ipv6(6, 20).tcp(kSynFlag)) == FrameKind::first);
  CHECK(kind(icmp(8)) == FrameKind::first);
  CHECK(kind(icmp(3)) == FrameKind::pass);
  CHECK(kind(icmpv6(128, wire::kGuestIpv6)) == FrameKind::first);
  const auto facts = classify(frame_of(udp_frame(10, 1234)));
  CHECK(facts.kind == FrameKind::udp);
  CHECK(facts.guest.port == 1234);
  CHECK(facts.remote.port == 53);
  CHECK(facts.guest.address ==
        std::array<uint8_t, 16>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 2, 15});
  CHECK(facts.remote.address ==
        std::array<uint8_t, 16>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7});
  const auto facts6 = classify(frame_of(Builder(kIpv6Type).ipv6(17, 18).udp(10)));
  CHECK(facts6.kind == FrameKind::udp);
  CHECK(facts6.remote.address == kOutside6);
}

TEST_CASE("net frame: a SYN with more than a SYN has is none") {
  CHECK(kind(Builder(kIpv4Type).ipv4(6, 20).tcp(kSynFlag | 1)) == FrameKind::malformed);
  CHECK(kind(Builder(kIpv4Type).ipv4(6, 20).tcp(kSynFlag | 4)) == FrameKind::malformed);
  const NetHeader segments{.flags = kNetNeedsCsum,
                           .gso_type = kNetGsoTcp4,
                           .gso_size = 1000,
                           .csum_start = 34,
                           .csum_offset = 16};
  CHECK(kind(Builder(kIpv4Type).ipv4(6, 3020).tcp(kSynFlag).fill(3000), segments) ==
        FrameKind::malformed);
  CHECK(kind(ack_frame(3000), segments) == FrameKind::pass);
}

TEST_CASE("net frame: what is not of the guest's MAC and addresses is spoofed") {
  constexpr wire::MacAddress kOther{2, 0, 0, 0, 0, 1};
  CHECK(kind(Builder(kIpv4Type, kOther).ipv4(6, 20).tcp(kSynFlag)) == FrameKind::spoofed);
  for (const wire::Ipv4Address& from :
       {wire::Ipv4Address{10, 0, 2, 16}, wire::Ipv4Address{}, wire::kGatewayIpv4}) {
    CHECK(kind(Builder(kIpv4Type).ipv4(6, 20, 0, from).tcp(kSynFlag)) == FrameKind::spoofed);
    CHECK(kind(Builder(kIpv4Type).ipv4(17, 18, 0, from).udp(10)) == FrameKind::spoofed);
    CHECK(kind(Builder(kIpv4Type).ipv4(17, 18, 5, from).fill(18)) == FrameKind::spoofed);
  }
  CHECK(kind(Builder(kIpv6Type).ipv6(6, 20, kLinkLocal).tcp(kSynFlag)) == FrameKind::spoofed);
  CHECK(kind(Builder(kIpv6Type).ipv6(17, 18, kOutside6).udp(10)) == FrameKind::spoofed);
  CHECK(kind(icmpv6(135, kOutside6)) == FrameKind::spoofed);
  CHECK(kind(icmpv6(128, kLinkLocal)) == FrameKind::spoofed);
  CHECK(kind(arp(kOther, wire::kGuestIpv4, wire::kGatewayIpv4)) == FrameKind::spoofed);
  CHECK(kind(arp(wire::kGuestMac, wire::kGatewayIpv4, wire::kGuestIpv4)) == FrameKind::spoofed);
}

TEST_CASE("net frame: an idle guest's own talk is told from what wants a network") {
  CHECK(kind(arp(wire::kGuestMac, wire::kGuestIpv4, wire::kGatewayIpv4)) == FrameKind::pass);
  CHECK(kind(arp(wire::kGuestMac, {}, wire::kGuestIpv4)) == FrameKind::chatter);
  CHECK(kind(arp(wire::kGuestMac, wire::kGuestIpv4, wire::kGuestIpv4)) == FrameKind::chatter);
  CHECK(kind(solicitation_frame()) == FrameKind::chatter);
  CHECK(kind(icmpv6(143, kNobody)) == FrameKind::chatter);
  CHECK(kind(icmpv6(135, kNobody)) == FrameKind::chatter);
  CHECK(kind(icmpv6(135, wire::kGuestIpv6)) == FrameKind::pass);
  CHECK(kind(Builder(kIpv4Type).ipv4(2, 8).fill(8)) == FrameKind::chatter);
  const wire::Ipv4Address mdns{224, 0, 0, 251};
  CHECK(kind(Builder(kIpv4Type).ipv4(17, 18, 0, wire::kGuestIpv4, mdns).udp(10)) ==
        FrameKind::chatter);
}

TEST_CASE("net frame: what would change the host's side of the link is refused") {
  for (const unsigned type : {5u, 9u}) CHECK(kind(icmp(type)) == FrameKind::malformed);
  for (const unsigned type : {130u, 134u, 137u}) {
    CHECK(kind(icmpv6(type, kLinkLocal)) == FrameKind::malformed);
  }
}

TEST_CASE("net frame: tags and protocols that the link has not are refused") {
  for (const unsigned type : {0x8100u, 0x88a8u, 0x88ccu, 0x0000u, 0x05dcu, 0xffffu}) {
    CHECK(kind(Builder(static_cast<uint16_t>(type)).fill(64)) == FrameKind::malformed);
  }
  CHECK(kind(FrameBytes{}) == FrameKind::malformed);
  CHECK(kind(FrameBytes(13)) == FrameKind::malformed);
}

TEST_CASE("net frame: fragments are those of UDP, and the first has its ports") {
  constexpr unsigned kMore = 0x2000;
  CHECK(kind(Builder(kIpv4Type).ipv4(17, 24, kMore).udp(1000 - 8).take()) == FrameKind::udp);
  CHECK(kind(Builder(kIpv4Type).ipv4(17, 24, 5).fill(24)) == FrameKind::pass);
  CHECK(kind(Builder(kIpv4Type).ipv4(17, 24, kMore | 5).fill(24)) == FrameKind::pass);
  CHECK(kind(Builder(kIpv4Type).ipv4(17, 4, kMore).fill(4)) == FrameKind::malformed);
  CHECK(kind(Builder(kIpv4Type).ipv4(6, 20, kMore).tcp(kAckFlag)) == FrameKind::malformed);
  CHECK(kind(Builder(kIpv4Type).ipv4(6, 20, 1).fill(20)) == FrameKind::malformed);
  CHECK(kind(icmp(8, kMore)) == FrameKind::malformed);
  CHECK(kind(Builder(kIpv4Type).ipv4(17, 24, 0x1fff).fill(24)) == FrameKind::malformed);
  CHECK(kind(Builder(kIpv4Type).ipv4(17, 18, 0x8000).udp(10)) == FrameKind::malformed);
  CHECK(kind(Builder(kIpv4Type).ipv4(17, 18, 0x4000).udp(10)) == FrameKind::udp);  // DF
  const auto v6 = [](unsigned next, unsigned place, size_t bytes) {
    return Builder(kIpv6Type).ipv6(44, 8 + bytes).u8(next).u8(0).u16(place).u32(7);
  };
  CHECK(kind(v6(17, 1, 24).udp(16)) == FrameKind::udp);
  CHECK(kind(v6(17, 0, 18).udp(10)) == FrameKind::udp);  // one piece, RFC 6946
  CHECK(kind(v6(17, 3 << 3, 24).fill(24)) == FrameKind::pass);
  CHECK(kind(v6(6, 1, 20).tcp(kSynFlag)) == FrameKind::malformed);
  CHECK(kind(v6(60, 3 << 3, 24).fill(24)) == FrameKind::malformed);
}

TEST_CASE("net frame: options and extension headers are passed over, and have a bound") {
  CHECK(kind(Builder(kIpv4Type).ipv4(6, 20, 0, wire::kGuestIpv4, kOutside, 15).tcp(kSynFlag)) ==
        FrameKind::first);
  CHECK(kind(Builder(kIpv4Type).ipv4(6, 60).tcp(kSynFlag, 15)) == FrameKind::first);
  const auto extended = [](unsigned count, unsigned first = 60) {
    FrameBuilder frame(kIpv6Type);
    frame.ipv6(count == 0 ? 6 : first, count * 8ul + 20);
    for (unsigned i = 0; i < count; ++i) frame.u8(i + 1 == count ? 6 : 60).u8(0).fill(6);
    return frame.tcp(kSynFlag).take();
  };
  CHECK(kind(extended(0)) == FrameKind::first);
  CHECK(kind(extended(1, 0)) == FrameKind::first);
  CHECK(kind(extended(8)) == FrameKind::first);
  CHECK(kind(extended(9)) == FrameKind::malformed);
  CHECK(kind(extended(1, 43)) == FrameKind::malformed);  // a routing header
  // One that reaches further than the frame, or than what is looked at.
  CHECK(kind(Builder(kIpv6Type).ipv6(60, 28).u8(6).u8(9).fill(6).tcp(kSynFlag)) ==
        FrameKind::malformed);
  CHECK(kind(Builder(kIpv6Type).ipv6(60, 276).u8(6).u8(31).fill(254).tcp(kSynFlag)) ==
        FrameKind::malformed);
}

TEST_CASE("net frame: lengths that do not fit are refused") {
  CHECK(kind(Builder(kIpv4Type).ipv4(6, 21).tcp(kSynFlag)) == FrameKind::malformed);
  CHECK(kind(Builder(kIpv4Type).ipv4(6, 12).tcp(kSynFlag)) == FrameKind::malformed);
  CHECK(kind(Builder(kIpv4Type).ipv4(6, 20).tcp(kSynFlag, 5).fill(26)) == FrameKind::first);
  FrameBytes short_ip = syn_frame();
  short_ip[14] = std::byte{0x44};
  CHECK(kind(short_ip) == FrameKind::malformed);
  FrameBytes short_tcp = syn_frame();
  short_tcp[14 + 20 + 12] = std::byte{0x40};
  CHECK(kind(short_tcp) == FrameKind::malformed);
  short_tcp[14 + 20 + 12] = std::byte{0xf0};
  CHECK(kind(short_tcp) == FrameKind::malformed);
  FrameBytes udp = udp_frame(10);
  udp[14 + 20 + 5] = std::byte{19};
  CHECK(kind(udp) == FrameKind::malformed);
  udp[14 + 20 + 5] = std::byte{7};
  CHECK(kind(udp) == FrameKind::malformed);
  CHECK(kind(Builder(kIpv6Type).ipv6(6, 21).tcp(kSynFlag)) == FrameKind::malformed);
  CHECK(kind(Builder(kIpv6Type).ipv6(6, 0).tcp(kSynFlag)) == FrameKind::malformed);
  CHECK(kind(ack_frame(1460)) == FrameKind::pass);
  CHECK(kind(ack_frame(1461)) == FrameKind::malformed);
}

TEST_CASE("net frame: every cut of a good frame is judged without reading behind it") {
  for (const FrameBytes& whole : {syn_frame(), udp_frame(), icmpv6(135, kLinkLocal),
                                  Builder(kIpv6Type).ipv6(60, 28).u8(6).u8(0).fill(6).tcp(2).take(),
                                  arp(wire::kGuestMac, {}, wire::kGuestIpv4)}) {
    for (size_t size = 0; size < whole.size(); ++size) {
      FrameBytes cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
      cut.shrink_to_fit();
      const FrameKind judged = kind(cut);
      CHECK((judged == FrameKind::malformed || (size < 14 && judged == FrameKind::spoofed)));
    }
  }
}

TEST_CASE("net frame: offloads are those agreed on, and of this frame") {
  const NetHeader csum{.flags = kNetNeedsCsum, .csum_start = 34, .csum_offset = 16};
  CHECK(takes({}));
  CHECK(takes(csum));
  CHECK_FALSE(takes(csum, 2000, 0));
  CHECK_FALSE(takes(csum, 51));
  CHECK(takes(csum, 52));
  CHECK_FALSE(takes({.flags = kNetNeedsCsum, .csum_start = 13, .csum_offset = 16}));
  CHECK_FALSE(takes({.flags = kNetNeedsCsum, .csum_start = 0xffff, .csum_offset = 0xffff}));
  NetHeader segments = csum;
  segments.gso_type = kNetGsoTcp4;
  segments.gso_size = 1448;
  segments.hdr_len = 54;
  CHECK(takes(segments));
  CHECK_FALSE(takes(segments, 2000, kNetCsum | kNetHostTso6));
  const auto with = [&](auto change) {
    NetHeader changed = segments;
    change(changed);
    return takes(changed);
  };
  CHECK_FALSE(with([](NetHeader& h) { h.gso_size = 0; }));
  CHECK_FALSE(with([](NetHeader& h) { h.gso_size = 47; }));
  CHECK_FALSE(with([](NetHeader& h) { h.hdr_len = 2001; }));
  CHECK_FALSE(with([](NetHeader& h) { h.flags = 0; }));
  for (const unsigned type : {2u, 3u, 5u, 0x80u, 0x81u, 0xffu}) {
    CHECK_FALSE(with([&](NetHeader& h) { h.gso_type = static_cast<uint8_t>(type); }));
  }
  Frame frame{.header = {0xfe, 0, 9, 9, 9, 9, 9}, .head = {}, .bytes = 100};
  REQUIRE(take_offloads(frame, kAll));
  const NetHeader clean{};
  CHECK(std::memcmp(&frame.header, &clean, sizeof clean) == 0);
}

TEST_CASE("net frame: a checksum is where the packet's protocol has it") {
  const NetHeader right{.flags = kNetNeedsCsum, .csum_start = 34, .csum_offset = 16};
  CHECK(kind(ack_frame(100), right) == FrameKind::pass);
  NetHeader wrong = right;
  wrong.csum_offset = 13;  // the flags: a kernel that fills it in makes another packet of it
  CHECK(kind(ack_frame(100), wrong) == FrameKind::malformed);
  wrong = right;
  wrong.csum_start = 36;
  CHECK(kind(ack_frame(100), wrong) == FrameKind::malformed);
  CHECK(kind(udp_frame(), right) == FrameKind::malformed);
  wrong = {.flags = kNetNeedsCsum, .csum_start = 34, .csum_offset = 6};
  CHECK(kind(udp_frame(), wrong) == FrameKind::udp);
  CHECK(kind(icmp(0), wrong) == FrameKind::malformed);
  wrong = right;
  wrong.gso_type = kNetGsoTcp6;
  wrong.gso_size = 1000;
  CHECK(kind(ack_frame(100), wrong) == FrameKind::malformed);
}

TEST_CASE("net pairs: as many as are bounded, each known both ways of saying it") {
  NetPairs pairs;
  wire::UdpPair pair{true, {{1}, 2}, {{3}, 4}};
  pairs.apply(pair);
  CHECK(pairs.holds(pair.guest, pair.remote));
  CHECK_FALSE(pairs.holds(pair.remote, pair.guest));
  CHECK_FALSE(pairs.holds({{1}, 3}, pair.remote));
  pair.admitted = false;
  pairs.apply(pair);
  CHECK_FALSE(pairs.holds(pair.guest, pair.remote));
  for (uint32_t i = 0; i < 2 * NetPairs::kMost; ++i) {
    pairs.apply({true, {{1}, static_cast<uint16_t>(i)}, {{static_cast<uint8_t>(i >> 16)}, 4}});
  }
  CHECK(pairs.size() == NetPairs::kMost);
  pairs.clear();
  CHECK(pairs.size() == 0);
}
