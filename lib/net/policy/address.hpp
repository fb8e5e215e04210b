// What an address is: which of the ranges that have a word, and what else it stands for. There are
// addresses of IPv6 that a router, a tunnel or the kernel turns into one of IPv4 (NAT64, 6to4, …);
// what is denied of the latter must not be had by the former.
#pragma once

#include <set>
#include <vector>

#include "wire/net_addresses.hpp"

namespace microvm::net {

// IPv6, IPv4 as ::ffff:a.b.c.d: so on the net wire, in rules and in answers of the resolver.
using Address = wire::Ipv6Address;

[[nodiscard]] Address from_ipv4(const wire::Ipv4Address& address);
[[nodiscard]] bool is_ipv4(const Address& address);
// prefix_bits of the 128. A prefix of IPv6 fits no IPv4, not even ::/0.
[[nodiscard]] bool is_within(const Address& address, const Address& prefix, uint8_t prefix_bits);

// The address, and those of IPv4 that are inside it.
[[nodiscard]] std::vector<Address> forms_of(const Address& address);

// Of the address itself, not of what is inside it. Linux takes 0.0.0.0 and :: for loopback.
[[nodiscard]] bool is_loopback(const Address& address);
[[nodiscard]] bool is_link_local(const Address& address);
[[nodiscard]] bool is_private(const Address& address);

// The addresses that the host itself has at this time.
class HostAddresses {
 public:
  HostAddresses() = default;
  explicit HostAddresses(const std::vector<Address>& addresses)
      : addresses_(addresses.begin(), addresses.end()) {}

  [[nodiscard]] bool contains(const Address& address) const { return addresses_.contains(address); }

  // Whether it is of the internet in every form: not loopback, the host's own, link-local, private,
  // CGNAT, multicast, broadcast or reserved. Documentation ranges are like any other.
  [[nodiscard]] bool leaves_to_internet(const Address& address) const;

 private:
  std::set<Address> addresses_;
};

}  // namespace microvm::net
