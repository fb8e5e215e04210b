// Rules and addresses as text, for tables of tests.
#pragma once

#include <arpa/inet.h>
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "net/policy/policy.hpp"

namespace microvm::test {

inline net::Address address(const std::string& text) {
  wire::Ipv4Address four{};
  if (::inet_pton(AF_INET, text.c_str(), four.data()) == 1) return net::from_ipv4(four);
  net::Address six{};
  if (::inet_pton(AF_INET6, text.c_str(), six.data()) != 1) std::abort();
  return six;
}

inline void set_target(wire::NetworkRule& rule, const std::string& target) {
  using Target = wire::NetworkRule::Target;
  const std::vector<std::string> groups{"loopback", "host", "link-local", "private", "internet"};
  for (size_t i = 0; i < groups.size(); ++i) {
    if (groups[i] != target) continue;
    rule.target = Target::group;
    rule.group = static_cast<wire::AddressGroup>(i);
    return;
  }
  if (target == "*") return;
  const size_t slash = target.find('/');
  if (slash == std::string::npos) {
    const bool is_wild = target.starts_with("*.");
    rule.target = is_wild ? Target::subdomains : Target::domain;
    rule.domain = is_wild ? target.substr(2) : target;
    return;
  }
  rule.target = Target::prefix;
  rule.address = address(target.substr(0, slash));
  const bool is_four = target.find(':') == std::string::npos;
  rule.prefix_bits =
      static_cast<uint8_t>(std::atoi(target.c_str() + slash + 1) + (is_four ? 96 : 0));
}

// "allow|deny tcp|udp|icmp|any TARGET [FIRST-LAST]"; an address has its /BITS.
inline wire::NetworkRule rule(const std::string& text) {
  char verdict[16], protocol[16], target[128];
  unsigned first = 0, last = 0;
  const int count =
      std::sscanf(text.c_str(), "%15s %15s %127s %u-%u", verdict, protocol, target, &first, &last);
  if (count != 3 && count != 5) std::abort();
  wire::NetworkRule out;
  out.text = text;
  out.verdict = std::string(verdict) == "allow" ? wire::Verdict::allow : wire::Verdict::deny;
  const std::vector<std::string> protocols{"any", "tcp", "udp", "icmp"};
  for (size_t i = 0; i < protocols.size(); ++i) {
    if (protocols[i] == protocol) out.protocol = static_cast<wire::FlowProtocol>(i);
  }
  set_target(out, target);
  if (count == 5) {
    out.ports = {{static_cast<uint16_t>(first), static_cast<uint16_t>(last)}};
  }
  return out;
}

inline net::Policy policy(const std::vector<std::string>& rules,
                          wire::Otherwise otherwise = wire::Otherwise::internet) {
  wire::NetworkSetup setup;
  setup.otherwise = otherwise;
  for (const std::string& text : rules) setup.rules.push_back(rule(text));
  return net::Policy(setup);
}

}  // namespace microvm::test
