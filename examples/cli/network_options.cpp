#include "network_options.hpp"

#include <algorithm>
#include <array>

namespace cli {
namespace {

using microvm::NetworkDefault;
using microvm::NetworkMode;

struct Option {
  const char* name;
  const char* placeholder;
  const char* help;
};
constexpr std::array kPolicyOptions = {
    Option{"allow", "RULE", "What it may reach; with --deny in the order given, the first counts"},
    Option{"deny", "RULE", "What it may not reach"},
    Option{"otherwise", "WHAT", "Of all else: internet (the default), allow or deny"},
    Option{"rate", "SIZE", "Bytes in a second, both ways together (no limit)"},
    Option{"flow-rate", "N", "New connections in a second (no limit)"},
    Option{"open-flows", "N", "Connections at a time (1024)"},
};
constexpr std::array kModeOptions = {
    Option{"network", "MODE", "none, user or tap=NAME (user where the image has a network)"},
    Option{"address", "CIDR", "With a tap: an address of it, 192.0.2.7/24; may be repeated"},
    Option{"gateway", "ADDRESS", "With a tap: its gateway, one of IPv4 and one of IPv6"},
    Option{"dns", "ADDRESS", "With a tap: a resolver; may be repeated"},
    Option{"mac", "MAC", "With a tap: its MAC (one of its own for each microVM)"},
};

bool is_given(const OptionParser& parser, const auto& options) {
  return std::ranges::any_of(options, [&](const Option& o) { return parser.has(o.name); });
}

std::optional<NetworkDefault> parse_otherwise(const std::string& word) {
  for (const auto value : {NetworkDefault::internet, NetworkDefault::allow, NetworkDefault::deny}) {
    if (word == microvm::network_default_name(value)) return value;
  }
  return std::nullopt;
}

std::optional<std::string> read_count(const OptionParser& parser, const char* name,
                                      uint32_t& value) {
  if (!parser.has(name)) return std::nullopt;
  const auto count = parse_count(parser.get(name));
  if (!count) return std::string("--") + name + ": not a number above 0";
  value = *count;
  return std::nullopt;
}

std::optional<std::string> read_mode(const std::string& word, microvm::NetworkOptions& network) {
  constexpr std::string_view kTap = "tap=";
  if (word == "none") {
    network.mode = NetworkMode::none;
  } else if (word == "user") {
    network.mode = NetworkMode::user;
  } else if (word.starts_with(kTap) && word.size() > kTap.size()) {
    network.mode = NetworkMode::tap;
    network.tap.name = word.substr(kTap.size());
  } else {
    return "--network: none, user or tap=NAME";
  }
  return std::nullopt;
}

}  // namespace

const char* const kNetworkNotes =
    "A RULE is [tcp|udp|icmp] TARGET[:PORTS]: 192.0.2.0/24, 2001:db8::7, example.org,\n"
    "*.example.org:80,443, [2001:db8::/32]:8000-8100, *, internet, private, host, loopback,\n"
    "link-local. The default, internet, is all but private addresses and those of this host.";

void add_policy_options(OptionParser& parser) {
  for (const Option& option : kPolicyOptions) {
    parser.value(option.name, option.placeholder, option.help);
  }
}

std::optional<std::string> read_policy_options(const OptionParser& parser,
                                               microvm::NetworkPolicy& policy) {
  for (const auto& [verdict, rule] : parser.in_order({"allow", "deny"})) {
    policy.rules.push_back(verdict + " " + rule);
  }
  if (parser.has("otherwise")) {
    const auto otherwise = parse_otherwise(parser.get("otherwise"));
    if (!otherwise) return "--otherwise: internet, allow or deny";
    policy.otherwise = *otherwise;
  }
  if (parser.has("rate")) {
    const auto rate = parse_size(parser.get("rate"));
    if (!rate) return "--rate: not a size like 10M";
    policy.bytes_per_second = *rate;
  }
  if (auto problem = read_count(parser, "flow-rate", policy.flows_per_second)) return problem;
  return read_count(parser, "open-flows", policy.open_flows);
}

void add_network_options(OptionParser& parser) {
  const Option& mode = kModeOptions[0];
  parser.value(mode.name, mode.placeholder, mode.help);
  add_policy_options(parser);
  for (const Option& option : std::span(kModeOptions).subspan(1)) {
    parser.value(option.name, option.placeholder, option.help);
  }
}

std::optional<std::string> read_network_options(const OptionParser& parser,
                                                microvm::NetworkOptions& network) {
  if (parser.has("network")) {
    if (auto problem = read_mode(parser.get("network"), network)) return problem;
  }
  const bool is_tap = network.mode == NetworkMode::tap;
  if (!is_tap && is_given(parser, std::span(kModeOptions).subspan(1))) {
    return "--address, --gateway, --dns and --mac are for --network tap=NAME";
  }
  if ((is_tap || network.mode == NetworkMode::none) && is_given(parser, kPolicyOptions)) {
    return "rules and limits are for --network user";
  }
  network.tap.addresses = parser.all("address");
  network.tap.gateways = parser.all("gateway");
  network.tap.dns = parser.all("dns");
  network.tap.mac = parser.get("mac");
  return read_policy_options(parser, network.policy);
}

bool has_network_options(const OptionParser& parser) {
  return is_given(parser, kModeOptions) || is_given(parser, kPolicyOptions);
}

Arguments network_options_with_value() {
  Arguments names;
  for (const Option& option : kModeOptions) names.push_back(std::string("--") + option.name);
  for (const Option& option : kPolicyOptions) names.push_back(std::string("--") + option.name);
  return names;
}

}  // namespace cli
