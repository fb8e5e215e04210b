// The host's resolver configuration: what resolv.conf(5) says, as glibc reads it.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "wire/net_addresses.hpp"

namespace microvm::net {

inline constexpr size_t kMaxResolvConfBytes = size_t{64} * 1024;
inline constexpr size_t kMaxNameservers = 3;
inline constexpr size_t kMaxSearchDomains = 32;

struct Nameserver {
  wire::Ipv6Address address{};  // IPv4 as ::ffff:a.b.c.d
  std::string scope;            // of a link-local one: an interface, by name or number
  uint16_t port = 53;
  friend bool operator==(const Nameserver&, const Nameserver&) = default;
};

struct ResolvConf {
  std::vector<Nameserver> nameservers;
  std::vector<std::string> search;  // canonical
  unsigned ndots = 1;
  std::chrono::seconds timeout{5};  // of one try
  unsigned attempts = 2;            // of each nameserver
  bool uses_tcp = false;
  friend bool operator==(const ResolvConf&, const ResolvConf&) = default;
};

// Lines that are not understood are passed over, as every reader of this file does. Without a
// nameserver it is 127.0.0.1.
[[nodiscard]] ResolvConf parse_resolv_conf(std::string_view text);

}  // namespace microvm::net
