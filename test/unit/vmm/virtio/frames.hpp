// Frames of a guest, built field by field.
#pragma once

#include <cstring>
#include <span>

#include "vmm/virtio/net_frame.hpp"
#include "wire/net_addresses.hpp"

namespace microvm::test {

using FrameBytes = std::vector<std::byte>;

inline constexpr uint16_t kIpv4Type = 0x0800;
inline constexpr uint16_t kIpv6Type = 0x86dd;
inline constexpr uint16_t kArpType = 0x0806;
inline constexpr uint8_t kSynFlag = 2, kAckFlag = 16;
inline constexpr wire::Ipv4Address kOutside{192, 0, 2, 7};
inline constexpr wire::Ipv6Address kOutside6{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0,
                                             0,    0, 0,   0,    0, 0, 0, 7};

class FrameBuilder {
 public:
  explicit FrameBuilder(uint16_t type, const wire::MacAddress& from = wire::kGuestMac) {
    add(wire::kGatewayMac);
    add(from);
    u16(type);
  }
  FrameBuilder& u8(unsigned value) {
    bytes_.push_back(static_cast<std::byte>(value));
    return *this;
  }
  FrameBuilder& u16(unsigned value) { return u8(value >> 8 & 0xff).u8(value & 0xff); }
  FrameBuilder& u32(unsigned value) { return u16(value >> 16).u16(value & 0xffff); }
  FrameBuilder& fill(size_t count, unsigned value = 0) {
    bytes_.resize(bytes_.size() + count, static_cast<std::byte>(value));
    return *this;
  }
  template <size_t N>
  FrameBuilder& add(const std::array<uint8_t, N>& address) {
    for (const uint8_t byte : address) u8(byte);
    return *this;
  }
  // `payload`: bytes that follow. `fragment`: the flags and offset as they stand there.
  FrameBuilder& ipv4(unsigned protocol, size_t payload, unsigned fragment = 0,
                     const wire::Ipv4Address& from = wire::kGuestIpv4,
                     const wire::Ipv4Address& to = kOutside, unsigned words = 5) {
    u8(0x40 | words).u8(0).u16(static_cast<unsigned>(words * 4 + payload));
    u16(1).u16(fragment).u8(64).u8(protocol).u16(0);
    return add(from).add(to).fill(4ul * (words - 5), 1);
  }
  FrameBuilder& ipv6(unsigned next, size_t payload,
                     const wire::Ipv6Address& from = wire::kGuestIpv6,
                     const wire::Ipv6Address& to = kOutside6) {
    u32(0x6000'0000).u16(static_cast<unsigned>(payload)).u8(next).u8(64);
    return add(from).add(to);
  }
  FrameBuilder& tcp(unsigned flags, unsigned words = 5) {
    u16(40000).u16(443).u32(1).u32(0).u8(words << 4).u8(flags).u16(1024).u16(0).u16(0);
    return fill(4ul * (words - 5), 1);
  }
  FrameBuilder& udp(size_t payload, unsigned port = 40000, unsigned to = 53) {
    u16(port).u16(to).u16(static_cast<unsigned>(8 + payload)).u16(0);
    return fill(payload, 'u');
  }
  [[nodiscard]] FrameBytes take() const { return bytes_; }
  operator FrameBytes() const { return bytes_; }  // NOLINT(google-explicit-constructor)

 private:
  FrameBytes bytes_;
};

inline FrameBytes syn_frame() {
  return FrameBuilder(kIpv4Type).ipv4(6, 20).tcp(kSynFlag);
}
inline FrameBytes ack_frame(size_t payload = 0) {
  return FrameBuilder(kIpv4Type).ipv4(6, 20 + payload).tcp(kAckFlag).fill(payload, 'd');
}
inline FrameBytes udp_frame(size_t payload = 10, unsigned port = 40000) {
  return FrameBuilder(kIpv4Type).ipv4(17, 8 + payload).udp(payload, port);
}
inline FrameBytes solicitation_frame() {  // for a router: what a guest says by itself
  wire::Ipv6Address own{0xfe, 0x80};
  own[15] = 1;
  return FrameBuilder(kIpv6Type).ipv6(58, 8, own).u8(133).fill(7);
}

inline vmm::Frame frame_of(const FrameBytes& bytes, vmm::NetHeader header = {}) {
  const wire::ByteView all(bytes);
  return {header, all.first(std::min(all.size(), vmm::kFrameHeadBytes)), all.size()};
}

}  // namespace microvm::test
