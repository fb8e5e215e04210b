#include "host/network/rule_text.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>

#include <string>

using namespace microvm;
using namespace microvm::host;
using wire::AddressGroup;
using wire::FlowProtocol;
using wire::Verdict;
using Target = wire::NetworkRule::Target;

namespace {

wire::NetworkRule parse(const std::string& text) {
  auto rule = parse_rule(text, 1);
  REQUIRE_MESSAGE(rule, (rule ? "" : rule.error().message));
  return std::move(*rule);
}

// Behind the rule and "character ".
std::string problem_of(const std::string& text) {
  const auto rule = parse_rule(text, 7);
  REQUIRE_MESSAGE(!rule, text);
  CHECK(rule.error().code == ErrorCode::invalid_argument);
  const std::string& message = rule.error().message;
  CHECK(message.starts_with("network rule 7 ("));
  const std::string mark = "), character ";
  const size_t at = message.rfind(mark);
  REQUIRE(at != std::string::npos);
  return message.substr(at + mark.size());
}

std::string address_of(const wire::NetworkRule& rule) {
  char text[INET6_ADDRSTRLEN];
  return std::string(::inet_ntop(AF_INET6, rule.address.data(), text, sizeof text)) + "/" +
         std::to_string(rule.prefix_bits);
}

std::string ports_of(const wire::NetworkRule& rule) {
  std::string text;
  for (const auto& [first, last] : rule.ports) {
    text += (text.empty() ? "" : " ") + std::to_string(first) + "-" + std::to_string(last);
  }
  return text;
}

}  // namespace

TEST_CASE("network rules: addresses and networks") {
  const struct {
    const char* text;
    const char* prefix;
    const char* ports;
  } rows[] = {
      {"allow 10.1.2.3", "::ffff:10.1.2.3/128", ""},
      {"allow 10.0.0.0/8", "::ffff:10.0.0.0/104", ""},
      {"allow 0.0.0.0/0", "::ffff:0.0.0.0/96", ""},
      {"allow tcp 10.0.0.0/8:443", "::ffff:10.0.0.0/104", "443-443"},
      {"allow 10.1.2.3:80,443", "::ffff:10.1.2.3/128", "80-80 443-443"},
      {"allow 2001:db8::7", "2001:db8::7/128", ""},
      {"allow 2001:DB8::/32", "2001:db8::/32", ""},
      {"allow ::/0", "::/0", ""},
      {"allow [2001:db8::7]", "2001:db8::7/128", ""},
      {"allow [2001:db8::7]:53", "2001:db8::7/128", "53-53"},
      {"allow [2001:db8::]/32:53", "2001:db8::/32", "53-53"},
      {"allow [2001:db8::/32]:8000-8100", "2001:db8::/32", "8000-8100"},
      {"allow 2001:db8::1:443", "2001:db8::1:443/128", ""},
  };
  for (const auto& row : rows) {
    CAPTURE(row.text);
    const auto rule = parse(row.text);
    CHECK(rule.target == Target::prefix);
    CHECK(address_of(rule) == row.prefix);
    CHECK(ports_of(rule) == row.ports);
    CHECK(rule.text == row.text);
  }
}

TEST_CASE("network rules: domains, folded and without the dot at the end") {
  const struct {
    const char* text;
    Target target;
    const char* domain;
  } rows[] = {
      {"allow example.org", Target::domain, "example.org"},
      {"allow Example.ORG.", Target::domain, "example.org"},
      {"allow *.example.org:443", Target::subdomains, "example.org"},
      {"allow xn--bcher-kva.example", Target::domain, "xn--bcher-kva.example"},
      {"allow _srv.4.example.org", Target::domain, "_srv.4.example.org"},
      {"allow db:5432", Target::domain, "db"},
      {"allow 7.example", Target::domain, "7.example"},
      {"allow hosts", Target::domain, "hosts"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.text);
    const auto rule = parse(row.text);
    CHECK(rule.target == row.target);
    CHECK(rule.domain == row.domain);
  }
}

TEST_CASE("network rules: words, verdicts, protocols, ports") {
  CHECK(parse("deny *").target == Target::any);
  CHECK(parse("deny *").verdict == Verdict::deny);
  CHECK(parse(" ALLOW\tTCP  *:25 ").verdict == Verdict::allow);
  CHECK(parse("allow tcp *").protocol == FlowProtocol::tcp);
  CHECK(parse("allow udp *").protocol == FlowProtocol::udp);
  CHECK(parse("allow icmp *").protocol == FlowProtocol::icmp);
  CHECK(parse("allow *").protocol == FlowProtocol::any);
  CHECK(ports_of(parse("allow *:1-65535,53,1000-1000")) == "1-65535 53-53 1000-1000");
  const struct {
    const char* word;
    AddressGroup group;
  } rows[] = {{"internet", AddressGroup::internet},
              {"private", AddressGroup::private_use},
              {"loopback", AddressGroup::loopback},
              {"link-local", AddressGroup::link_local},
              {"host", AddressGroup::host}};
  for (const auto& row : rows) {
    const auto rule = parse(std::string("deny udp ") + row.word + ":53");
    CHECK(rule.target == Target::group);
    CHECK(rule.group == row.group);
    CHECK(ports_of(rule) == "53-53");
  }
}

TEST_CASE("network rules: what is wrong, and where") {
  const struct {
    std::string text;
    const char* problem;
  } rows[] = {
      {"", "1: a rule begins with allow or deny"},
      {"   ", "4: a rule begins with allow or deny"},
      {"permit *", "1: a rule begins with allow or deny"},
      {"allow", "6: no target: an address, a network, a domain, a word or *"},
      {"allow tcp", "10: no target: an address, a network, a domain, a word or *"},
      {"allow :443", "7: no target: an address, a network, a domain, a word or *"},
      {"allow example.org tcp", "19: write allow|deny [tcp|udp|icmp] TARGET[:PORTS]"},
      {"allow a.org b.org",
       "13: more than one target: make it a rule of its own, and write ports as TARGET:80,443"},
      {"allow 10.0.0.256", "7: no IPv4 address (four numbers to 255)"},
      {"allow 10.0.0", "7: no IPv4 address (four numbers to 255)"},
      {"allow 010.0.0.1", "7: no IPv4 address (four numbers to 255)"},
      {"allow example.org/24", "7: no IPv4 address (four numbers to 255)"},
      {"allow 10.0.0.0/33", "16: no prefix length: 0 to 32"},
      {"allow 10.0.0.0/", "16: no prefix length: 0 to 32"},
      {"allow 10.0.0.0/8/8", "16: no prefix length: 0 to 32"},
      {"allow 2001:db8::/129", "18: no prefix length: 0 to 128"},
      {"allow 10.1.0.0/8", "7: the address has more than the 8 bits that count: write 10.0.0.0/8"},
      {"allow 2001:db8::1/32",
       "7: the address has more than the 32 bits that count: write 2001:db8::/32"},
      {"allow 2001:db8::g", "7: no IPv6 address"},
      {"allow fe80::1%eth0", "7: no IPv6 address"},
      {"allow [2001:db8::1", "7: the bracket is not closed"},
      {"allow [::1]x:443", "8: no IPv6 address"},
      {"allow *:0", "9: no port: 443, 80,443 or 8000-8100, each from 1 to 65535"},
      {"allow *:65536", "9: no port: 443, 80,443 or 8000-8100, each from 1 to 65535"},
      {"allow *:80,", "12: no port: 443, 80,443 or 8000-8100, each from 1 to 65535"},
      {"allow *:http", "9: no port: 443, 80,443 or 8000-8100, each from 1 to 65535"},
      {"allow *:-80", "9: no port: 443, 80,443 or 8000-8100, each from 1 to 65535"},
      {"allow *:90-80", "9: the range of ports ends before it begins"},
      {"allow icmp *:7", "14: icmp has no ports"},
      {"allow exa mple.org",
       "11: more than one target: make it a rule of its own, and write ports as TARGET:80,443"},
      {"allow a..org", "7: a domain with an empty part"},
      {"allow .org", "7: a domain with an empty part"},
      {"allow *.", "9: a domain with an empty part"},
      {"allow a.*.org", "9: * stands alone or first, as in *.example.org"},
      {"allow *example.org", "7: * stands alone or first, as in *.example.org"},
      {"allow ex@mple.org", "9: \"@\" has no place in a domain"},
      {"allow -a.org", "7: a part of a domain neither begins nor ends with -"},
      {"allow a.b.7", "7: neither an address (four numbers to 255) nor a domain"},
      {"allow b\xc3\xbc"
       "cher.example",
       "8: not ASCII: write a domain in its xn-- form (idn2 NAME prints it)"},
      {"allow a\nallow *", "8: a control character: a rule is one line of plain text"},
      {std::string("allow a\0b", 9), "8: a control character: a rule is one line of plain text"},
      {"allow " + std::string(64, 'a'), "7: a part of a domain has 63 bytes at most"},
      {"allow " + std::string(600, 'a'), "1: more than 512 bytes"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.text);
    CHECK(problem_of(row.text) == row.problem);
  }
}

TEST_CASE("network rules: names of 253 bytes, 32 ports, and not one more") {
  std::string name = std::string(63, 'a') + "." + std::string(63, 'b') + "." +
                     std::string(63, 'c') + "." + std::string(61, 'd');
  CHECK(parse("allow " + name).domain == name);
  CHECK(problem_of("allow " + name + "d") == "7: a domain has 253 bytes at most");
  std::string ports = "allow *:1";
  for (int port = 2; port <= 32; ++port) ports += "," + std::to_string(port);
  CHECK(parse(ports).ports.size() == 32);
  CHECK(problem_of(ports + ",33").ends_with("more than 32 ports or ranges: make it two rules"));
}

TEST_CASE("network policy: compiled, written, read and told again it is the same") {
  const NetworkPolicy policy{.otherwise = NetworkDefault::deny,
                             .rules = {"allow tcp *.Example.org:443", "deny private", "allow *"},
                             .bytes_per_second = 1'000'000,
                             .flows_per_second = 20,
                             .open_flows = 64};
  const auto setup = compile_policy(policy);
  REQUIRE(setup);
  const auto read = wire::decode_network_setup(wire::encode_network_setup(*setup));
  REQUIRE(read);
  CHECK(policy_of(*read) == policy);
  CHECK(policy_of(wire::NetworkSetup{}) == NetworkPolicy{});
}

TEST_CASE("network policy: bounds") {
  NetworkPolicy policy;
  policy.rules.assign(1024, "allow *");
  CHECK(compile_policy(policy));
  policy.rules.emplace_back("allow *");
  CHECK(compile_policy(policy).error().message == "more than 1024 network rules");
  for (const uint32_t flows : {0u, 16'385u}) {
    CHECK(compile_policy({.open_flows = flows}).error().message ==
          "the limit of open flows of a network is 1 to 16384");
  }
  const auto second = compile_policy({.rules = {"allow *", "allow a b"}});
  REQUIRE_FALSE(second);
  CHECK(second.error().message.starts_with("network rule 2 (allow a b), character 9: "));
}
