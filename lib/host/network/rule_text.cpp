#include "host/network/rule_text.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string_view>

#include "host/base/printable.hpp"

namespace microvm::host {
namespace {

using wire::NetworkRule;
using Target = NetworkRule::Target;

constexpr size_t kMaxLabelBytes = 63;
constexpr unsigned kIpv4Bits = 32;
constexpr unsigned kIpv6Bits = 128;
constexpr unsigned kMappedBits = kIpv6Bits - kIpv4Bits;  // of ::ffff:0:0/96, where IPv4 stands
constexpr uint32_t kMaxPort = 65'535;

struct GroupWord {
  std::string_view word;
  wire::AddressGroup group;
};
constexpr std::array kGroupWords = {
    GroupWord{"internet", wire::AddressGroup::internet},
    GroupWord{"private", wire::AddressGroup::private_use},
    GroupWord{"loopback", wire::AddressGroup::loopback},
    GroupWord{"link-local", wire::AddressGroup::link_local},
    GroupWord{"host", wire::AddressGroup::host},
};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_blank(char c) {
  return c == ' ' || c == '\t';
}
bool is_label_char(char c) {
  return (c >= 'a' && c <= 'z') || is_digit(c) || c == '-' || c == '_';
}

std::string lower_case(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

std::optional<uint32_t> to_number(std::string_view digits, uint32_t max) {
  uint32_t number = 0;
  const char* end = digits.data() + digits.size();
  const auto [at, error] = std::from_chars(digits.data(), end, number);
  const bool is_one = error == std::errc() && at == end && !digits.empty();
  return is_one && number <= max ? std::optional(number) : std::nullopt;
}

// One rule on its way. Every part is a view of `text_`, so that its place is known.
class RuleParser {
 public:
  RuleParser(const std::string& text, size_t number)
      : written_(text), text_(lower_case(text)), number_(number) {}

  Result<NetworkRule> parse();

 private:
  using Done = Result<void>;
  struct Split {
    std::string_view target;
    std::optional<std::string_view> ports;
  };

  std::string_view next_word();
  [[nodiscard]] base::Failure fail_at(std::string_view part, const std::string& problem) const;
  Done check_characters() const;
  Done read_verdict(std::string_view word);
  Done read_end(std::string_view target);
  [[nodiscard]] Result<Split> split_target(std::string_view word) const;
  Done read_target(std::string_view target);
  Done read_prefix(std::string_view target);
  Done read_domain(std::string_view name);
  [[nodiscard]] Done check_label(std::string_view label, std::string_view name) const;
  Done read_ports(std::string_view list);
  [[nodiscard]] Result<uint16_t> read_port(std::string_view digits) const;

  const std::string& written_;
  const std::string text_;
  const size_t number_;
  size_t at_ = 0;
  NetworkRule rule_;
};

std::string_view RuleParser::next_word() {
  while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
  const size_t begin = at_;
  while (at_ < text_.size() && !is_blank(text_[at_])) ++at_;
  return std::string_view(text_).substr(begin, at_ - begin);
}

base::Failure RuleParser::fail_at(std::string_view part, const std::string& problem) const {
  const auto place = static_cast<size_t>(part.data() - text_.data()) + 1;
  return base::fail(ErrorCode::invalid_argument, "network rule " + std::to_string(number_) + " (" +
                                                     printable(written_, 80) + "), character " +
                                                     std::to_string(place) + ": " + problem);
}

RuleParser::Done RuleParser::check_characters() const {
  for (size_t i = 0; i < text_.size(); ++i) {
    const auto c = static_cast<unsigned char>(text_[i]);
    if (c == '\t' || (c >= 0x20 && c < 0x7f)) continue;
    const auto part = std::string_view(text_).substr(i);
    if (c < 0x80) return fail_at(part, "a control character: a rule is one line of plain text");
    return fail_at(part, "not ASCII: write a domain in its xn-- form (idn2 NAME prints it)");
  }
  return {};
}

RuleParser::Done RuleParser::read_verdict(std::string_view word) {
  if (word == "allow") {
    rule_.verdict = wire::Verdict::allow;
  } else if (word != "deny") {
    return fail_at(word, "a rule begins with allow or deny");
  }
  return {};
}

std::optional<wire::FlowProtocol> to_protocol(std::string_view word) {
  if (word == "tcp") return wire::FlowProtocol::tcp;
  if (word == "udp") return wire::FlowProtocol::udp;
  if (word == "icmp") return wire::FlowProtocol::icmp;
  return std::nullopt;
}

RuleParser::Done RuleParser::read_end(std::string_view target) {
  const std::string_view more = next_word();
  if (more.empty()) return {};
  const bool looks_swapped = to_protocol(more) || to_protocol(target);
  return fail_at(more, looks_swapped ? "write allow|deny [tcp|udp|icmp] TARGET[:PORTS]"
                                     : "more than one target: make it a rule of its own, and "
                                       "write ports as TARGET:80,443");
}

// Where the ports begin: an IPv6 address has colons too, so with ports it stands in brackets.
Result<RuleParser::Split> RuleParser::split_target(std::string_view word) const {
  size_t from = 0;
  if (word.starts_with('[')) {
    from = word.find(']');
    if (from == std::string_view::npos) return fail_at(word, "the bracket is not closed");
  } else if (std::ranges::count(word, ':') > 1) {
    return Split{word, std::nullopt};
  }
  const size_t colon = word.find(':', from);
  if (colon == std::string_view::npos) return Split{word, std::nullopt};
  return Split{word.substr(0, colon), word.substr(colon + 1)};
}

RuleParser::Done RuleParser::read_target(std::string_view target) {
  if (target.empty()) {
    return fail_at(target, "no target: an address, a network, a domain, a word or *");
  }
  if (target == "*") return {};
  for (const GroupWord& group : kGroupWords) {
    if (target != group.word) continue;
    rule_.target = Target::group;
    rule_.group = group.group;
    return {};
  }
  const bool looks_numeric =
      std::ranges::all_of(target, [](char c) { return is_digit(c) || c == '.'; });
  const bool is_address = target.find_first_of(":/[") != std::string_view::npos || looks_numeric;
  if (is_address) return read_prefix(target);
  const bool below = target.starts_with("*.");
  rule_.target = below ? Target::subdomains : Target::domain;
  return read_domain(below ? target.substr(2) : target);
}

// The address without the brackets, and how many bits of it count.
struct PrefixText {
  std::string_view address;
  std::optional<std::string_view> bits;
};

PrefixText split_prefix(std::string_view target) {
  PrefixText text{target, std::nullopt};
  const auto cut_bits = [&text] {
    const size_t slash = text.address.find('/');
    if (slash == std::string_view::npos) return;
    text.bits = text.address.substr(slash + 1);
    text.address = text.address.substr(0, slash);
  };
  cut_bits();  // [2001:db8::]/32
  if (text.address.starts_with('[')) text.address.remove_prefix(1);
  if (text.address.ends_with(']')) text.address.remove_suffix(1);
  if (text.bits && text.bits->ends_with(']')) text.bits->remove_suffix(1);  // [2001:db8::/32]
  return text;
}

// The family's bits; 0: it is no address.
unsigned parse_address(std::string_view text, std::array<uint8_t, 16>& address) {
  const std::string whole(text);
  if (::inet_pton(AF_INET6, whole.c_str(), address.data()) == 1) return kIpv6Bits;
  address = {};
  address[10] = address[11] = 0xff;
  return ::inet_pton(AF_INET, whole.c_str(), address.data() + 12) == 1 ? kIpv4Bits : 0;
}

bool cut_to_prefix(std::array<uint8_t, 16>& address, unsigned bits) {
  const auto before = address;
  for (unsigned i = 0; i < address.size(); ++i) {
    const unsigned keep = std::clamp(static_cast<int>(bits) - static_cast<int>(i * 8), 0, 8);
    address[i] = static_cast<uint8_t>(address[i] & (0xff00u >> keep));
  }
  return address != before;
}

std::string address_text(const std::array<uint8_t, 16>& address, bool is_ipv4) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const void* from = is_ipv4 ? address.data() + 12 : address.data();
  return ::inet_ntop(is_ipv4 ? AF_INET : AF_INET6, from, text.data(), text.size());
}

RuleParser::Done RuleParser::read_prefix(std::string_view target) {
  const PrefixText text = split_prefix(target);
  const unsigned family_bits = parse_address(text.address, rule_.address);
  if (family_bits == 0) {
    const bool is_ipv6 = text.address.find(':') != std::string_view::npos;
    return fail_at(text.address, std::string("no ") + (is_ipv6 ? "IPv6" : "IPv4") + " address" +
                                     (is_ipv6 ? "" : " (four numbers to 255)"));
  }
  unsigned bits = family_bits;
  if (text.bits) {
    const auto given = to_number(*text.bits, family_bits);
    if (!given) {
      return fail_at(*text.bits, "no prefix length: 0 to " + std::to_string(family_bits));
    }
    bits = *given;
  }
  const bool is_ipv4 = family_bits == kIpv4Bits;
  rule_.target = Target::prefix;
  rule_.prefix_bits = static_cast<uint8_t>(is_ipv4 ? bits + kMappedBits : bits);
  if (!cut_to_prefix(rule_.address, rule_.prefix_bits)) return {};
  return fail_at(text.address, "the address has more than the " + std::to_string(bits) +
                                   " bits that count: write " +
                                   address_text(rule_.address, is_ipv4) + "/" +
                                   std::to_string(bits));
}

RuleParser::Done RuleParser::check_label(std::string_view label, std::string_view name) const {
  const std::string_view where = label.empty() ? name : label;
  if (label.empty()) return fail_at(where, "a domain with an empty part");
  if (label.size() > kMaxLabelBytes)
    return fail_at(where, "a part of a domain has 63 bytes at most");
  for (size_t i = 0; i < label.size(); ++i) {
    if (is_label_char(label[i])) continue;
    const auto part = label.substr(i);
    if (part[0] == '*') return fail_at(part, "* stands alone or first, as in *.example.org");
    return fail_at(part, std::string("\"") + part[0] + "\" has no place in a domain");
  }
  if (label.front() == '-' || label.back() == '-') {
    return fail_at(where, "a part of a domain neither begins nor ends with -");
  }
  return {};
}

RuleParser::Done RuleParser::read_domain(std::string_view name) {
  if (name.ends_with('.')) name.remove_suffix(1);
  if (name.size() > wire::kMaxDomainBytes) return fail_at(name, "a domain has 253 bytes at most");
  std::string_view label;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t dot = std::min(name.find('.', begin), name.size());
    label = name.substr(begin, dot - begin);
    if (auto ok = check_label(label, name); !ok) return ok;
    begin = dot + 1;
  }
  if (std::ranges::all_of(label, is_digit)) {
    return fail_at(name, "neither an address (four numbers to 255) nor a domain");
  }
  rule_.domain = std::string(name);
  return {};
}

Result<uint16_t> RuleParser::read_port(std::string_view digits) const {
  const auto port = to_number(digits, kMaxPort);
  if (port && *port != 0) return static_cast<uint16_t>(*port);
  return fail_at(digits, "no port: 443, 80,443 or 8000-8100, each from 1 to 65535");
}

RuleParser::Done RuleParser::read_ports(std::string_view list) {
  if (rule_.protocol == wire::FlowProtocol::icmp) return fail_at(list, "icmp has no ports");
  for (size_t begin = 0; begin <= list.size();) {
    const size_t comma = std::min(list.find(',', begin), list.size());
    const std::string_view item = list.substr(begin, comma - begin);
    const size_t dash = std::min(item.find('-'), item.size());
    const auto first = read_port(item.substr(0, dash));
    if (!first) return base::fail(first.error());
    const auto last = dash == item.size() ? first : read_port(item.substr(dash + 1));
    if (!last) return base::fail(last.error());
    if (*last < *first) return fail_at(item, "the range of ports ends before it begins");
    if (rule_.ports.size() == wire::kMaxRulePorts) {
      return fail_at(item, "more than 32 ports or ranges: make it two rules");
    }
    rule_.ports.push_back({*first, *last});
    begin = comma + 1;
  }
  return {};
}

Result<NetworkRule> RuleParser::parse() {
  if (written_.size() > wire::kMaxRuleText) return fail_at(text_, "more than 512 bytes");
  if (auto ok = check_characters(); !ok) return base::fail(ok.error());
  if (auto ok = read_verdict(next_word()); !ok) return base::fail(ok.error());
  std::string_view word = next_word();
  if (const auto protocol = to_protocol(word)) {
    rule_.protocol = *protocol;
    word = next_word();
  }
  if (auto ok = read_end(word); !ok) return base::fail(ok.error());
  const auto split = split_target(word);
  if (!split) return base::fail(split.error());
  if (auto ok = read_target(split->target); !ok) return base::fail(ok.error());
  if (split->ports) {
    if (auto ok = read_ports(*split->ports); !ok) return base::fail(ok.error());
  }
  rule_.text = written_;
  return std::move(rule_);
}

wire::Otherwise to_wire(NetworkDefault otherwise) {
  if (otherwise == NetworkDefault::allow) return wire::Otherwise::allow;
  return otherwise == NetworkDefault::deny ? wire::Otherwise::deny : wire::Otherwise::internet;
}

NetworkDefault from_wire(wire::Otherwise otherwise) {
  if (otherwise == wire::Otherwise::allow) return NetworkDefault::allow;
  return otherwise == wire::Otherwise::deny ? NetworkDefault::deny : NetworkDefault::internet;
}

}  // namespace

Result<NetworkRule> parse_rule(const std::string& text, size_t number) {
  return RuleParser(text, number).parse();
}

Result<wire::NetworkSetup> compile_policy(const NetworkPolicy& policy) {
  if (policy.rules.size() > wire::kMaxNetworkRules) {
    return base::fail(ErrorCode::invalid_argument, "more than 1024 network rules");
  }
  if (policy.open_flows == 0 || policy.open_flows > wire::kMaxOpenFlows) {
    return base::fail(ErrorCode::invalid_argument,
                      "the limit of open flows of a network is 1 to 16384");
  }
  wire::NetworkSetup setup;
  setup.otherwise = to_wire(policy.otherwise);
  setup.limits = {policy.bytes_per_second, policy.flows_per_second, policy.open_flows};
  for (const std::string& text : policy.rules) {
    auto rule = parse_rule(text, setup.rules.size() + 1);
    if (!rule) return base::fail(rule.error());
    setup.rules.push_back(std::move(*rule));
  }
  return setup;
}

NetworkPolicy policy_of(const wire::NetworkSetup& setup) {
  NetworkPolicy policy;
  policy.otherwise = from_wire(setup.otherwise);
  policy.bytes_per_second = setup.limits.bytes_per_second;
  policy.flows_per_second = setup.limits.flows_per_second;
  policy.open_flows = setup.limits.open_flows;
  for (const wire::NetworkRule& rule : setup.rules) policy.rules.push_back(rule.text);
  return policy;
}

}  // namespace microvm::host
