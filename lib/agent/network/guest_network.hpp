// The guest's network: eth0 and /etc/resolv.conf, at boot and as each identity says.
#pragma once

#include "agent/network/interface.hpp"
#include "agent/network/resolver_file.hpp"
#include "wire/agent.pb.h"

namespace microvm::agent {

class GuestNetwork {
 public:
  // The network that every microVM has (net_addresses.hpp), which most identities leave as it is: a
  // clone has nothing to do then. Without a network device there is none. What does not work is
  // reported in the kernel log.
  void come_up(int root, const char* staging);
  // Before programs run.
  void apply(const microvm_agent_Identity& identity);

 private:
  [[nodiscard]] Outcome<void> find_interface(Netlink& netlink);
  [[nodiscard]] Outcome<void> change(const InterfaceSettings& settings, bool up);

  int index_ = 0;  // of eth0; 0: there is none
  bool up_ = false;
  InterfaceSettings settings_;
  bool is_whole_ = true;  // all of them were set
  ResolverFile resolver_;
};

// Of an identity that says TAP. Error: an address that is none.
[[nodiscard]] Outcome<InterfaceSettings> tap_settings(const microvm_agent_Identity& identity);

}  // namespace microvm::agent
