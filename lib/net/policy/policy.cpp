#include "net/policy/policy.hpp"

#include <algorithm>
#include <array>

#include "net/names/domain_name.hpp"

namespace microvm::net {
namespace {

using Kind = ShownName::Kind;
using Target = wire::NetworkRule::Target;
using Verdict = Ruling::Verdict;

constexpr const char* kNoRule = "otherwise";

// Where one server answers for many names, after the name that it is asked for.
constexpr std::array<uint16_t, 16> kWebPorts{80,   443,  2052, 2053, 2082, 2083, 2086, 2087,
                                             2095, 2096, 8000, 8008, 8080, 8443, 8880, 8888};

enum class Fit : uint8_t { no, yes, if_named };

Fit fit_if(bool fits) {
  return fits ? Fit::yes : Fit::no;
}

bool denies(const wire::NetworkRule& rule) {
  return rule.verdict == wire::Verdict::deny;
}

bool has_port(const wire::NetworkRule& rule, const FlowFacts& flow) {
  if (rule.ports.empty()) return true;
  if (flow.protocol == wire::FlowProtocol::icmp) return false;
  return std::any_of(rule.ports.begin(), rule.ports.end(), [&](const wire::PortRange& ports) {
    return ports.first <= flow.port && flow.port <= ports.last;
  });
}

bool has_protocol(const wire::NetworkRule& rule, const FlowFacts& flow) {
  return rule.protocol == wire::FlowProtocol::any || rule.protocol == flow.protocol;
}

bool has_name(const wire::NetworkRule& rule, const std::string& name) {
  return rule.target == Target::domain ? name == rule.domain : is_below(name, rule.domain);
}

// Loopback is the host too; who allows the host means what it shows to others.
bool is_of_host(const wire::NetworkRule& rule, const Address& address, const HostAddresses& host) {
  if (is_loopback(address)) return denies(rule);
  return host.contains(address);
}

bool is_in_group(const wire::NetworkRule& rule, const Address& address, const HostAddresses& host) {
  switch (rule.group) {
    case wire::AddressGroup::loopback:
      return is_loopback(address);
    case wire::AddressGroup::host:
      return is_of_host(rule, address, host);
    case wire::AddressGroup::link_local:
      return is_link_local(address);
    case wire::AddressGroup::private_use:
      return is_private(address);
    case wire::AddressGroup::internet:
      return host.leaves_to_internet(address);
  }
  return false;
}

bool is_target(const wire::NetworkRule& rule, const Address& address, const HostAddresses& host) {
  if (rule.target == Target::group) return is_in_group(rule, address, host);
  return is_within(address, rule.address, rule.prefix_bits);
}

// What is inside an address is denied with it, and not allowed by it.
Fit fit_address(const wire::NetworkRule& rule, const FlowFacts& flow, const HostAddresses& host) {
  if (!denies(rule)) return fit_if(is_target(rule, flow.address, host));
  const auto forms = forms_of(flow.address);
  return fit_if(std::any_of(forms.begin(), forms.end(),
                            [&](const Address& form) { return is_target(rule, form, host); }));
}

bool is_enough_without_name(const wire::NetworkRule& rule, const FlowFacts& flow) {
  if (denies(rule) || flow.protocol == wire::FlowProtocol::icmp) return true;
  if (rule.ports.empty()) return false;
  const bool is_udp_meant =
      flow.protocol == wire::FlowProtocol::udp && rule.protocol == wire::FlowProtocol::udp;
  return is_udp_meant ||
         std::find(kWebPorts.begin(), kWebPorts.end(), flow.port) == kWebPorts.end();
}

Fit fit_shown(const wire::NetworkRule& rule, const FlowFacts& flow, bool is_known) {
  switch (flow.shown.kind) {
    case Kind::name:
      return fit_if(has_name(rule, flow.shown.name));
    case Kind::no_name:
      return fit_if(is_known && denies(rule));
    case Kind::other_protocol:
      return fit_if(is_known && is_enough_without_name(rule, flow));
    case Kind::more:
    case Kind::undecidable:
      return Fit::if_named;
  }
  return Fit::if_named;
}

Fit fit_domain(const wire::NetworkRule& rule, const FlowFacts& flow, const HostAddresses& host) {
  const bool is_known = std::any_of(flow.known_as.begin(), flow.known_as.end(),
                                    [&](const std::string& name) { return has_name(rule, name); });
  if (!denies(rule) && (!is_known || !host.leaves_to_internet(flow.address))) return Fit::no;
  if (flow.protocol == wire::FlowProtocol::tcp) return fit_shown(rule, flow, is_known);
  return fit_if(is_known && is_enough_without_name(rule, flow));
}

Fit fit(const wire::NetworkRule& rule, const FlowFacts& flow, const HostAddresses& host) {
  if (!has_protocol(rule, flow) || !has_port(rule, flow)) return Fit::no;
  switch (rule.target) {
    case Target::any:
      return Fit::yes;
    case Target::prefix:
    case Target::group:
      return fit_address(rule, flow, host);
    case Target::domain:
    case Target::subdomains:
      return fit_domain(rule, flow, host);
  }
  return Fit::no;
}

bool is_allowed_otherwise(wire::Otherwise otherwise, const FlowFacts& flow,
                          const HostAddresses& host) {
  if (otherwise != wire::Otherwise::internet) return otherwise == wire::Otherwise::allow;
  return host.leaves_to_internet(flow.address);
}

Ruling ruling(bool allows, std::string reason) {
  return {.verdict = allows ? Verdict::allow : Verdict::deny, .reason = std::move(reason)};
}

}  // namespace

// A rule that may fit matters only if its verdict is another than what counts without it.
Ruling Policy::judge(const FlowFacts& flow, const HostAddresses& host) const {
  const wire::NetworkRule* certain = nullptr;
  const wire::NetworkRule* may_allow = nullptr;
  const wire::NetworkRule* may_deny = nullptr;
  for (const wire::NetworkRule& rule : setup_.rules) {
    const Fit fits = fit(rule, flow, host);
    if (fits == Fit::yes) {
      certain = &rule;
      break;
    }
    const wire::NetworkRule*& first = denies(rule) ? may_deny : may_allow;
    if (fits == Fit::if_named && first == nullptr) first = &rule;
  }
  const bool allows =
      certain != nullptr ? !denies(*certain) : is_allowed_otherwise(setup_.otherwise, flow, host);
  const wire::NetworkRule* other = allows ? may_deny : may_allow;
  if (other == nullptr) return ruling(allows, certain != nullptr ? certain->text : kNoRule);
  if (flow.shown.kind == Kind::undecidable) return ruling(false, "no readable name");
  return {.verdict = Verdict::needs_name, .reason = other->text};
}

Ruling Policy::judge_again(const FlowFacts& flow, const HostAddresses& host) const {
  Ruling ruled = judge(flow, host);
  if (ruled.verdict == Verdict::needs_name) ruled.verdict = Verdict::deny;
  return ruled;
}

bool Policy::has_domains() const {
  return std::any_of(setup_.rules.begin(), setup_.rules.end(), [](const wire::NetworkRule& rule) {
    return rule.target == Target::domain || rule.target == Target::subdomains;
  });
}

}  // namespace microvm::net
