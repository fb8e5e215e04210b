// The one network that every microVM is in: each has a link of its own, so all can have the same
// addresses, and a snapshot's clones need none given. Those of QEMU's user network, which people
// know. What is outside of it does not matter, for no packet leaves it: flows do.
#pragma once

#include <array>
#include <cstdint>

namespace microvm::wire {

using MacAddress = std::array<uint8_t, 6>;
using Ipv4Address = std::array<uint8_t, 4>;
using Ipv6Address = std::array<uint8_t, 16>;

inline constexpr MacAddress kGuestMac{0x02, 0x6d, 0x76, 0x6d, 0x00, 0x15};
inline constexpr MacAddress kGatewayMac{0x02, 0x6d, 0x76, 0x6d, 0x00, 0x02};

inline constexpr Ipv4Address kGuestIpv4{10, 0, 2, 15};
inline constexpr Ipv4Address kGatewayIpv4{10, 0, 2, 2};
inline constexpr Ipv4Address kResolverIpv4{10, 0, 2, 3};
inline constexpr uint8_t kIpv4PrefixBits = 24;

// fd6d:766d::/64
inline constexpr Ipv6Address kGuestIpv6{0xfd, 0x6d, 0x76, 0x6d, 0, 0, 0, 0,
                                        0,    0,    0,    0,    0, 0, 0, 0x15};
inline constexpr Ipv6Address kGatewayIpv6{0xfd, 0x6d, 0x76, 0x6d, 0, 0, 0, 0,
                                          0,    0,    0,    0,    0, 0, 0, 0x02};
inline constexpr Ipv6Address kResolverIpv6{0xfd, 0x6d, 0x76, 0x6d, 0, 0, 0, 0,
                                           0,    0,    0,    0,    0, 0, 0, 0x03};
inline constexpr uint8_t kIpv6PrefixBits = 64;

inline constexpr uint16_t kNetMtu = 1500;

}  // namespace microvm::wire
