#include "wire/network_setup.hpp"

#include "wire/fields.hpp"

namespace microvm::wire {
namespace {

constexpr uint32_t kSetupMagic = 0x74'65'6e'6d;  // "mnet"
constexpr uint16_t kSetupVersion = 1;

template <class Visitor, class Ports>
void port_fields(Visitor& v, Ports& ports) {
  v.number(ports.first);
  v.number(ports.last);
}

template <class Visitor, class Rule>
void rule_fields(Visitor& v, Rule& rule) {
  v.choice(rule.verdict, Verdict::allow);
  v.choice(rule.protocol, FlowProtocol::icmp);
  v.choice(rule.target, NetworkRule::Target::group);
  for (auto& byte : rule.address) v.number(byte);
  v.number(rule.prefix_bits);
  v.text(rule.domain, kMaxDomainBytes);
  v.choice(rule.group, AddressGroup::internet);
  v.list(rule.ports, kMaxRulePorts, [](auto& inner, auto& ports) { port_fields(inner, ports); });
  v.text(rule.text, kMaxRuleText);
}

template <class Visitor, class Limits>
void limit_fields(Visitor& v, Limits& limits) {
  v.number(limits.bytes_per_second);
  v.number(limits.flows_per_second);
  v.number(limits.open_flows);
}

template <class Visitor, class Setup>
void setup_fields(Visitor& v, Setup& setup) {
  v.choice(setup.otherwise, Otherwise::deny);
  v.list(setup.rules, kMaxNetworkRules, [](auto& inner, auto& rule) { rule_fields(inner, rule); });
  v.object(setup.limits, [](auto& inner, auto& limits) { limit_fields(inner, limits); });
}

bool is_sound(const NetworkRule& rule) {
  for (const PortRange& ports : rule.ports) {
    if (ports.first > ports.last) return false;
  }
  return rule.prefix_bits <= 128;
}

bool is_sound(const NetworkSetup& setup) {
  for (const NetworkRule& rule : setup.rules) {
    if (!is_sound(rule)) return false;
  }
  return setup.limits.open_flows <= kMaxOpenFlows;
}

}  // namespace

Bytes encode_network_setup(const NetworkSetup& setup) {
  ByteWriter out;
  out.put(kSetupMagic);
  out.put(kSetupVersion);
  FieldWriter body(Form::growing);
  body.object(setup, [](FieldWriter& v, const NetworkSetup& s) { setup_fields(v, s); });
  out.put_bytes(body.take());
  return out.take();
}

Result<NetworkSetup> decode_network_setup(ByteView bytes) {
  const auto corrupt = [] {
    return base::fail(ErrorCode::corrupt, "the network's setup is damaged");
  };
  if (bytes.size() > kMaxNetworkSetupBytes) return corrupt();
  ByteReader in(bytes);
  const auto magic = in.get<uint32_t>();
  const auto version = in.get<uint16_t>();
  // One without a body would read as all defaults.
  if (!in.ok() || magic != kSetupMagic || in.left() == 0) return corrupt();
  if (version != kSetupVersion) {
    return base::fail(ErrorCode::unsupported, "the network's setup is of version " +
                                                  std::to_string(version) +
                                                  ", which a newer libmicrovm wrote");
  }
  FieldReader reader(Form::growing, in.get_bytes(in.left()));
  NetworkSetup setup;
  reader.object(setup, [](FieldReader& v, NetworkSetup& s) { setup_fields(v, s); });
  if (!reader.is_valid() || !is_sound(setup)) return corrupt();
  return setup;
}

}  // namespace microvm::wire
