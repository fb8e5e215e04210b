// What the policy says of flows, with all that it goes by: the rules, the host's addresses, and the
// names by which the guest knows others.
#pragma once

#include "net/flow/packet.hpp"
#include "net/policy/learned_names.hpp"
#include "net/policy/policy.hpp"

namespace microvm::net {

class Judge {
 public:
  explicit Judge(wire::NetworkSetup setup) : policy_(std::move(setup)) {}

  void set_policy(wire::NetworkSetup setup) { policy_ = Policy(std::move(setup)); }
  void set_host_addresses(HostAddresses addresses) { host_ = std::move(addresses); }
  [[nodiscard]] bool has_domains() const { return policy_.has_domains(); }
  [[nodiscard]] LearnedNames& learned() { return learned_; }
  [[nodiscard]] const wire::NetworkLimits& limits() const { return policy_.limits(); }

  // Of a flow that begins now.
  [[nodiscard]] FlowFacts facts_of(wire::FlowProtocol protocol, const wire::NetEndpoint& remote);
  [[nodiscard]] Ruling judge(const FlowFacts& facts) const { return policy_.judge(facts, host_); }
  // Of a flow whose first bytes have gone out.
  [[nodiscard]] Ruling judge_again(const FlowFacts& facts) const {
    return policy_.judge_again(facts, host_);
  }

 private:
  Policy policy_;
  HostAddresses host_;
  LearnedNames learned_;
};

}  // namespace microvm::net
