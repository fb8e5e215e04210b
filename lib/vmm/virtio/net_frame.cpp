#include "vmm/virtio/net_frame.hpp"

#include <algorithm>
#include <array>
#include <optional>

namespace microvm::vmm {
namespace {

constexpr uint16_t kEtherIpv4 = 0x0800;
constexpr uint16_t kEtherArp = 0x0806;
constexpr uint16_t kEtherIpv6 = 0x86dd;
constexpr size_t kIpv6Bytes = 40;
constexpr size_t kTcpBytes = 20;
constexpr size_t kUdpBytes = 8;
constexpr uint16_t kTcpCsumOffset = 16;
constexpr uint16_t kUdpCsumOffset = 6;
// No TCP has smaller segments; a frame could be cut into 65,000 of them.
constexpr uint16_t kMinSegment = 48;
constexpr int kMaxExtensions = 8;

enum IpProtocol : uint8_t {
  kHopByHop = 0,
  kIcmp = 1,
  kIgmp = 2,
  kTcp = 6,
  kUdp = 17,
  kRouting = 43,
  kFragment = 44,
  kIcmpv6 = 58,
  kDestinationOptions = 60,
};

// Reads past the end are zero; who reads has looked before.
class Head {
 public:
  explicit Head(wire::ByteView bytes) : bytes_(bytes) {}
  [[nodiscard]] bool has(size_t at, size_t count) const {
    return at <= bytes_.size() && count <= bytes_.size() - at;
  }
  [[nodiscard]] uint8_t u8(size_t at) const {
    return has(at, 1) ? std::to_integer<uint8_t>(bytes_[at]) : uint8_t{0};
  }
  [[nodiscard]] uint16_t u16(size_t at) const {
    return static_cast<uint16_t>(u8(at) << 8 | u8(at + 1));
  }
  template <size_t N>
  [[nodiscard]] std::array<uint8_t, N> array(size_t at) const {
    std::array<uint8_t, N> out{};
    for (size_t i = 0; i < N; ++i) out[i] = u8(at + i);
    return out;
  }

 private:
  wire::ByteView bytes_;
};

enum class Piece : uint8_t { whole, first, later };

// An IP packet up to where its protocol begins.
struct Packet {
  bool v6 = false;
  uint8_t protocol = 0;
  size_t begin = 0;  // of the protocol's header, in the frame
  size_t bytes = 0;  // from there to the packet's end
  Piece piece = Piece::whole;
  std::array<uint8_t, 16> source{};
  std::array<uint8_t, 16> destination{};
};

std::array<uint8_t, 16> mapped(const wire::Ipv4Address& address) {
  return {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, address[0], address[1], address[2], address[3]};
}

bool is_link_local(const std::array<uint8_t, 16>& address) {
  return address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
}

bool is_to_many(const Packet& packet) {
  if (packet.v6) return packet.destination[0] == 0xff;
  const uint8_t first = packet.destination[12];
  const bool all = std::all_of(packet.destination.begin() + 12, packet.destination.end(),
                               [](uint8_t byte) { return byte == 0xff; });
  return (first & 0xf0) == 0xe0 || all;
}

bool is_guest(const Packet& packet) {
  return packet.source == (packet.v6 ? wire::kGuestIpv6 : mapped(wire::kGuestIpv4));
}

// Where a fragment stands. False: it ends beyond what a packet can have.
bool place(Packet& packet, uint16_t eighths, bool more) {
  if (eighths == 0 && !more) return true;
  packet.piece = eighths == 0 ? Piece::first : Piece::later;
  return size_t{eighths} * 8 + packet.bytes <= 0xffff;
}

std::optional<Packet> parse_ipv4(const Frame& frame, const Head& head) {
  constexpr size_t at = kEthernetBytes;
  constexpr uint16_t kReserved = 0x8000;
  constexpr uint16_t kMore = 0x2000;
  const size_t header = size_t{4} * (head.u8(at) & 0x0f);
  const size_t total = head.u16(at + 2);
  if (head.u8(at) >> 4 != 4 || header < 20 || !head.has(at, header)) return std::nullopt;
  if (total < header || total > frame.bytes - at) return std::nullopt;
  const uint16_t fragment = head.u16(at + 6);
  Packet packet{.protocol = head.u8(at + 9), .begin = at + header, .bytes = total - header};
  packet.source = mapped(head.array<4>(at + 12));
  packet.destination = mapped(head.array<4>(at + 16));
  if ((fragment & kReserved) != 0) return std::nullopt;
  if (!place(packet, fragment & 0x1fff, (fragment & kMore) != 0)) return std::nullopt;
  return packet;
}

// One extension header; false: it can not be, or nobody needs it.
bool skip_extension(Packet& packet, const Head& head) {
  if (packet.protocol == kRouting || packet.bytes < 8 || !head.has(packet.begin, 8)) return false;
  const size_t at = packet.begin;
  const bool fragment = packet.protocol == kFragment;
  const size_t size = fragment ? 8 : size_t{8} * (1u + head.u8(at + 1));
  if (size > packet.bytes) return false;
  packet.protocol = head.u8(at);
  packet.begin += size;
  packet.bytes -= size;
  return !fragment || place(packet, head.u16(at + 2) >> 3, (head.u8(at + 3) & 1) != 0);
}

bool is_extension(uint8_t protocol) {
  return protocol == kHopByHop || protocol == kRouting || protocol == kFragment ||
         protocol == kDestinationOptions;
}

std::optional<Packet> parse_ipv6(const Frame& frame, const Head& head) {
  constexpr size_t at = kEthernetBytes;
  if (!head.has(at, kIpv6Bytes) || head.u8(at) >> 4 != 6) return std::nullopt;
  const size_t payload = head.u16(at + 4);
  if (payload == 0 || payload > frame.bytes - at - kIpv6Bytes) return std::nullopt;
  Packet packet{
      .v6 = true, .protocol = head.u8(at + 6), .begin = at + kIpv6Bytes, .bytes = payload};
  packet.source = head.array<16>(at + 8);
  packet.destination = head.array<16>(at + 24);
  for (int i = 0; is_extension(packet.protocol); ++i) {
    // Behind the start of a packet no header can be told from data.
    if (i == kMaxExtensions || packet.piece == Piece::later) return std::nullopt;
    if (!skip_extension(packet, head)) return std::nullopt;
  }
  return packet;
}

// The checksum and segments that the header asks for are those of this packet.
bool offloads_fit(const Frame& frame, const Packet& packet) {
  const NetHeader& header = frame.header;
  if (header.gso_type == kNetGsoNone && frame.bytes > kMaxPlainFrame) return false;
  if ((header.flags & kNetNeedsCsum) == 0) return true;
  if (packet.piece != Piece::whole || header.csum_start != packet.begin) return false;
  if (packet.protocol == kUdp) {
    return header.gso_type == kNetGsoNone && header.csum_offset == kUdpCsumOffset;
  }
  if (packet.protocol != kTcp || header.csum_offset != kTcpCsumOffset) return false;
  const uint8_t segments = packet.v6 ? kNetGsoTcp6 : kNetGsoTcp4;
  return header.gso_type == kNetGsoNone || header.gso_type == segments;
}

FrameKind tcp_kind(const Frame& frame, const Packet& packet, const Head& head) {
  constexpr uint8_t kFin = 1;
  constexpr uint8_t kSyn = 2;
  constexpr uint8_t kRst = 4;
  constexpr uint8_t kAck = 16;
  if (packet.piece != Piece::whole || packet.bytes < kTcpBytes) return FrameKind::malformed;
  const size_t header = size_t{4} * (head.u8(packet.begin + 12) >> 4);
  if (header < kTcpBytes || header > packet.bytes || !head.has(packet.begin, header)) {
    return FrameKind::malformed;
  }
  const uint8_t flags = head.u8(packet.begin + 13);
  if ((flags & kSyn) == 0) return FrameKind::pass;
  const bool absurd = (flags & (kFin | kRst)) != 0 || frame.header.gso_type != kNetGsoNone;
  if (absurd) return FrameKind::malformed;
  return (flags & kAck) != 0 ? FrameKind::pass : FrameKind::first;
}

// Later fragments go where the first one is put together with them.
FrameFacts udp_facts(const Packet& packet, const Head& head) {
  if (packet.piece == Piece::later) return {FrameKind::pass, {}, {}};
  if (packet.bytes < kUdpBytes || !head.has(packet.begin, kUdpBytes)) return {};
  const size_t length = head.u16(packet.begin + 4);
  if (length < kUdpBytes) return {};
  if (packet.piece == Piece::whole && length > packet.bytes) return {};
  if (is_to_many(packet)) return {FrameKind::chatter, {}, {}};
  return {FrameKind::udp,
          {packet.source, head.u16(packet.begin)},
          {packet.destination, head.u16(packet.begin + 2)}};
}

FrameKind icmp_kind(const Packet& packet, const Head& head) {
  constexpr uint8_t kRedirect = 5;
  constexpr uint8_t kEchoRequest = 8;
  constexpr uint8_t kRouterAdvertisement = 9;
  if (packet.piece != Piece::whole || packet.bytes < 8 || !head.has(packet.begin, 8)) {
    return FrameKind::malformed;
  }
  const uint8_t type = head.u8(packet.begin);
  if (type == kRedirect || type == kRouterAdvertisement) return FrameKind::malformed;
  return type == kEchoRequest ? FrameKind::first : FrameKind::pass;
}

// Neighbours are asked for from any address of the link, and before the guest has one.
FrameKind icmpv6_kind(const Packet& packet, const Head& head) {
  enum : uint8_t {
    kEchoRequest = 128,
    kMulticastQuery = 130,
    kMulticastReport = 131,
    kMulticastDone = 132,
    kRouterSolicitation = 133,
    kRouterAdvertisement = 134,
    kRedirect = 137,
    kMulticastReport2 = 143,
  };
  if (packet.piece != Piece::whole || packet.bytes < 4 || !head.has(packet.begin, 4)) {
    return FrameKind::malformed;
  }
  const bool unspecified = packet.source == std::array<uint8_t, 16>{};
  if (!is_guest(packet) && !unspecified && !is_link_local(packet.source)) {
    return FrameKind::spoofed;
  }
  switch (head.u8(packet.begin)) {
    case kRouterAdvertisement:
    case kRedirect:
    case kMulticastQuery:
      return FrameKind::malformed;
    case kEchoRequest:
      return is_guest(packet) ? FrameKind::first : FrameKind::spoofed;
    case kMulticastReport:
    case kMulticastDone:
    case kMulticastReport2:
    case kRouterSolicitation:
      return FrameKind::chatter;
    default:
      return unspecified ? FrameKind::chatter : FrameKind::pass;
  }
}

FrameFacts classify_packet(const Frame& frame, const Packet& packet, const Head& head) {
  if (!offloads_fit(frame, packet)) return {};
  if (packet.v6 && packet.protocol == kIcmpv6) return {icmpv6_kind(packet, head), {}, {}};
  if (!is_guest(packet)) return {FrameKind::spoofed, {}, {}};
  if (packet.protocol == kTcp) return {tcp_kind(frame, packet, head), {}, {}};
  if (packet.protocol == kUdp) return udp_facts(packet, head);
  if (packet.piece != Piece::whole) return {};
  if (packet.v6) return {FrameKind::pass, {}, {}};
  if (packet.protocol == kIcmp) return {icmp_kind(packet, head), {}, {}};
  return {packet.protocol == kIgmp ? FrameKind::chatter : FrameKind::pass, {}, {}};
}

// RFC 826, of Ethernet and IPv4. A guest may ask before it has its address.
FrameKind classify_arp(const Frame& frame, const Head& head) {
  constexpr size_t at = kEthernetBytes;
  if (!head.has(at, 28) || (frame.header.flags & kNetNeedsCsum) != 0) return FrameKind::malformed;
  const bool ethernet = head.u16(at) == 1 && head.u16(at + 2) == kEtherIpv4;
  if (!ethernet || head.u16(at + 4) != 0x0604) return FrameKind::malformed;
  const auto sender = head.array<4>(at + 14);
  const bool none = sender == wire::Ipv4Address{};
  if (head.array<6>(at + 8) != wire::kGuestMac || (!none && sender != wire::kGuestIpv4)) {
    return FrameKind::spoofed;
  }
  const bool of_itself = head.array<4>(at + 24) == wire::kGuestIpv4;
  return none || of_itself ? FrameKind::chatter : FrameKind::pass;
}

bool segments_fit(const Frame& frame, uint64_t features) {
  const NetHeader& header = frame.header;
  const uint64_t needed = header.gso_type == kNetGsoTcp4   ? kNetHostTso4
                          : header.gso_type == kNetGsoTcp6 ? kNetHostTso6
                                                           : 0;
  return (features & needed) != 0 && (header.flags & kNetNeedsCsum) != 0 &&
         header.gso_size >= kMinSegment && header.hdr_len <= frame.bytes &&
         size_t{header.csum_start} + kTcpBytes <= frame.bytes;
}

}  // namespace

bool take_offloads(Frame& frame, uint64_t features) {
  NetHeader& header = frame.header;
  header.flags &= kNetNeedsCsum;
  header.num_buffers = 0;
  if (header.flags == 0) {
    header.csum_start = header.csum_offset = 0;
  } else if ((features & kNetCsum) == 0 || header.csum_start < kEthernetBytes ||
             size_t{header.csum_start} + header.csum_offset + 2 > frame.bytes) {
    return false;
  }
  if (header.gso_type != kNetGsoNone) return segments_fit(frame, features);
  header.hdr_len = header.gso_size = 0;
  return true;
}

FrameFacts classify(const Frame& frame) {
  const Head head(frame.head);
  if (!head.has(0, kEthernetBytes) || frame.bytes < frame.head.size()) return {};
  if (head.array<6>(6) != wire::kGuestMac) return {FrameKind::spoofed, {}, {}};
  const uint16_t type = head.u16(12);
  if (type == kEtherArp) return {classify_arp(frame, head), {}, {}};
  if (type != kEtherIpv4 && type != kEtherIpv6) return {};
  const auto packet = type == kEtherIpv4 ? parse_ipv4(frame, head) : parse_ipv6(frame, head);
  return packet ? classify_packet(frame, *packet, head) : FrameFacts{};
}

}  // namespace microvm::vmm
