// What an interface is given: names, addresses, routes.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "agent/base/failed.hpp"
#include "agent/network/netlink.hpp"
#include "wire/net_addresses.hpp"

namespace microvm::agent {

inline constexpr const char* kInterfaceName = "eth0";

// 4 or 16 bytes.
struct IpAddress {
  uint8_t size = 0;
  std::array<uint8_t, 16> bytes{};

  IpAddress() = default;
  template <size_t N>
  explicit IpAddress(const std::array<uint8_t, N>& address) : size(N) {
    std::copy(address.begin(), address.end(), bytes.begin());
  }
  [[nodiscard]] bool is_ipv6() const { return size == 16; }
  friend bool operator==(const IpAddress&, const IpAddress&) = default;
};

struct InterfaceAddress {
  IpAddress address;
  uint8_t prefix_bits = 0;
  friend bool operator==(const InterfaceAddress&, const InterfaceAddress&) = default;
};

// Whose hardware address is known beforehand, so that nobody need ask for it.
struct Neighbour {
  IpAddress address;
  wire::MacAddress mac{};
  friend bool operator==(const Neighbour&, const Neighbour&) = default;
};

struct InterfaceSettings {
  std::optional<wire::MacAddress> mac;
  uint32_t mtu = 0;  // 0: as it is
  std::vector<InterfaceAddress> addresses;
  std::vector<IpAddress> gateways;  // one of a family
  std::vector<Neighbour> neighbours;
  bool announce = false;  // who else is on the link is told of the addresses
  friend bool operator==(const InterfaceSettings&, const InterfaceSettings&) = default;
};

// The one network of every microVM.
[[nodiscard]] InterfaceSettings user_network_settings();

// It is down before; of a kernel without IPv6 it gets what is IPv4. What does not work is left out,
// the first error is returned.
[[nodiscard]] Outcome<void> configure_interface(Netlink& netlink, int index,
                                                const InterfaceSettings& settings);
// Down, and without the addresses it had.
[[nodiscard]] Outcome<void> take_interface_down(Netlink& netlink, int index,
                                                const InterfaceSettings& had);
[[nodiscard]] Outcome<void> rename_interface(Netlink& netlink, int index, const char* name);

}  // namespace microvm::agent
