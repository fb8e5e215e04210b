// Rules as a file has them, and flows to any address: a verdict that needs no name is the same with
// each, one that needs a name is denied without a readable one, and nothing that an address stands
// for is reached by default.
#include <cstdlib>

#include "net/policy/policy.hpp"

using namespace microvm;
using Kind = net::ShownName::Kind;
using Verdict = net::Ruling::Verdict;

namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

net::FlowFacts read_flow(wire::ByteReader& in) {
  net::FlowFacts flow;
  flow.protocol = static_cast<wire::FlowProtocol>(1 + in.get<uint8_t>() % 3);
  flow.port = in.get<uint16_t>();
  for (auto& byte : flow.address) byte = in.get<uint8_t>();
  if (in.get<uint8_t>() % 2 == 0) flow.known_as = {"a.example"};
  return flow;
}

wire::NetworkRule read_rule(wire::ByteReader& in) {
  wire::NetworkRule rule;
  rule.verdict = static_cast<wire::Verdict>(in.get<uint8_t>() % 2);
  rule.protocol = static_cast<wire::FlowProtocol>(in.get<uint8_t>() % 4);
  rule.target = static_cast<wire::NetworkRule::Target>(in.get<uint8_t>() % 5);
  rule.group = static_cast<wire::AddressGroup>(in.get<uint8_t>() % 5);
  rule.domain = rule.target == wire::NetworkRule::Target::domain ? "a.example" : "example";
  rule.prefix_bits = in.get<uint8_t>() % 129;
  for (size_t i = 0; i < rule.prefix_bits / 8u; ++i) rule.address[i] = in.get<uint8_t>();
  if (in.get<uint8_t>() % 2 == 0) rule.ports = {{0, in.get<uint16_t>()}};
  return rule;
}

Verdict with(const net::Policy& policy, net::FlowFacts flow, Kind kind, const char* name = "") {
  flow.shown = {.kind = kind, .name = name};
  return policy.judge(flow, {}).verdict;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  wire::ByteReader in(std::as_bytes(std::span(data, size)));
  wire::NetworkSetup setup;
  setup.otherwise = static_cast<wire::Otherwise>(in.get<uint8_t>() % 3);
  const net::FlowFacts flow = read_flow(in);
  while (in.ok() && in.left() > 0 && setup.rules.size() < 32) setup.rules.push_back(read_rule(in));
  const net::Policy policy(std::move(setup));
  const Verdict at_first = policy.judge(flow, {}).verdict;
  for (const char* name : {"a.example", "b.example", "other"}) {
    const Verdict named = with(policy, flow, Kind::name, name);
    check(named != Verdict::needs_name && (at_first == Verdict::needs_name || named == at_first));
  }
  check(with(policy, flow, Kind::other_protocol) != Verdict::needs_name);
  check(with(policy, flow, Kind::no_name) != Verdict::needs_name);
  if (at_first == Verdict::needs_name)
    check(with(policy, flow, Kind::undecidable) == Verdict::deny);
  for (const net::Address& form : net::forms_of(flow.address)) {
    const bool is_inside = net::is_loopback(form) || net::is_private(form);
    check(!is_inside || !net::HostAddresses().leaves_to_internet(flow.address));
  }
  return 0;
}
