#include "net/policy/policy.hpp"

#include <doctest/doctest.h>

#include "made_policy.hpp"

using namespace microvm;
using namespace microvm::net;
using namespace microvm::test;
using Kind = ShownName::Kind;
using Protocol = wire::FlowProtocol;
using Rules = std::vector<std::string>;
using Verdict = Ruling::Verdict;
using wire::Otherwise;

namespace {

const HostAddresses kHost({address("203.0.113.7"), address("127.0.0.1"), address("192.168.5.5")});
const std::string kWeb = "198.51.100.1";  // of the internet

FlowFacts flow_to(const std::string& to, uint16_t port, Protocol protocol = Protocol::tcp) {
  return {.protocol = protocol, .address = address(to), .port = port, .known_as = {}, .shown = {}};
}

// A flow to what the guest knows as `known_as`, which shows a name, or `<kind>`.
FlowFacts named(const std::vector<std::string>& known_as, const std::string& shows,
                uint16_t port = 443, const std::string& to = kWeb) {
  FlowFacts flow = flow_to(to, port);
  flow.known_as = known_as;
  flow.shown = {.kind = Kind::name, .name = shows};
  if (shows == "<more>") flow.shown = {.kind = Kind::more, .name = {}};
  if (shows == "<none>") flow.shown = {.kind = Kind::no_name, .name = {}};
  if (shows == "<other>") flow.shown = {.kind = Kind::other_protocol, .name = {}};
  if (shows == "<undecidable>") flow.shown = {.kind = Kind::undecidable, .name = {}};
  return flow;
}

FlowFacts udp(const std::vector<std::string>& known_as, uint16_t port,
              const std::string& to = kWeb) {
  FlowFacts flow = flow_to(to, port, Protocol::udp);
  flow.known_as = known_as;
  return flow;
}

constexpr Verdict kDeny = Verdict::deny;
constexpr Verdict kAllow = Verdict::allow;
constexpr Verdict kNeedsName = Verdict::needs_name;

struct PolicyRow {
  const char* what;
  Rules rules;
  Otherwise otherwise;
  FlowFacts flow;
  Verdict verdict;
};

void check(const PolicyRow& row) {
  CAPTURE(row.what);
  CHECK(policy(row.rules, row.otherwise).judge(row.flow, kHost).verdict == row.verdict);
}

}  // namespace

TEST_CASE("policy: without rules") {
  for (const Protocol protocol : {Protocol::tcp, Protocol::udp, Protocol::icmp}) {
    const PolicyRow rows[] = {
        {"internet", {}, Otherwise::internet, flow_to(kWeb, 443, protocol), kAllow},
        {"loopback", {}, Otherwise::internet, flow_to("127.0.0.1", 443, protocol), kDeny},
        {"metadata", {}, Otherwise::internet, flow_to("169.254.169.254", 80, protocol), kDeny},
        {"the host", {}, Otherwise::internet, flow_to("203.0.113.7", 22, protocol), kDeny},
        {"all", {}, Otherwise::allow, flow_to("127.0.0.1", 443, protocol), kAllow},
        {"nothing", {}, Otherwise::deny, flow_to(kWeb, 443, protocol), kDeny},
    };
    for (const PolicyRow& row : rows) check(row);
  }
}

TEST_CASE("policy: addresses, protocols and ports; the first that fits") {
  const Rules ports{"allow tcp 10.0.0.0/8 80-90", "deny any 10.0.0.0/8", "allow udp *"};
  const PolicyRow rows[] = {
      {"port", ports, Otherwise::deny, flow_to("10.1.1.1", 80), kAllow},
      {"last port", ports, Otherwise::deny, flow_to("10.1.1.1", 90), kAllow},
      {"next port", ports, Otherwise::deny, flow_to("10.1.1.1", 91), kDeny},
      {"protocol", ports, Otherwise::deny, flow_to("10.1.1.1", 80, Protocol::udp), kDeny},
      {"any address", ports, Otherwise::deny, flow_to("127.0.0.1", 80, Protocol::udp), kAllow},
      {"none fits", ports, Otherwise::deny, flow_to("11.1.1.1", 80), kDeny},
      {"no ports for icmp",
       {"allow any 10.0.0.0/8 80-80"},
       Otherwise::deny,
       flow_to("10.1.1.1", 0, Protocol::icmp),
       kDeny},
      {"icmp",
       {"allow icmp 10.0.0.0/8"},
       Otherwise::deny,
       flow_to("10.1.1.1", 0, Protocol::icmp),
       kAllow},
      {"IPv6", {"allow any fd00::/8"}, Otherwise::internet, flow_to("fd00::1", 1), kAllow},
      {"IPv6 is not IPv4", {"deny any ::/0"}, Otherwise::internet, flow_to(kWeb, 1), kAllow},
      {"all of IPv6", {"deny any ::/0"}, Otherwise::internet, flow_to("2606:4700::1", 1), kDeny},
      {"first",
       {"deny any 10.1.0.0/16", "allow any 10.0.0.0/8"},
       Otherwise::internet,
       flow_to("10.1.1.1", 1),
       kDeny},
      {"second",
       {"deny any 10.1.0.0/16", "allow any 10.0.0.0/8"},
       Otherwise::internet,
       flow_to("10.2.1.1", 1),
       kAllow},
  };
  for (const PolicyRow& row : rows) check(row);
}

TEST_CASE("policy: words for addresses, also when they are inside others") {
  const auto is = [](const char* text, Otherwise otherwise, const std::string& to) {
    return policy({text}, otherwise).judge(flow_to(to, 1), kHost).verdict;
  };
  CHECK(is("allow any loopback", Otherwise::deny, "127.1.2.3") == kAllow);
  CHECK(is("allow any loopback", Otherwise::deny, "::1") == kAllow);
  CHECK(is("allow any loopback", Otherwise::deny, "64:ff9b::127.0.0.1") == kDeny);
  CHECK(is("deny any loopback", Otherwise::allow, "64:ff9b::127.0.0.1") == kDeny);
  CHECK(is("deny any loopback", Otherwise::allow, "2002:7f00:1::") == kDeny);
  CHECK(is("deny any loopback", Otherwise::allow, "0.0.0.0") == kDeny);
  CHECK(is("deny any loopback", Otherwise::allow, "::") == kDeny);
  CHECK(is("allow any host", Otherwise::deny, "203.0.113.7") == kAllow);
  CHECK(is("allow any host", Otherwise::deny, "192.168.5.5") == kAllow);
  CHECK(is("allow any host", Otherwise::deny, "127.0.0.1") == kDeny);
  CHECK(is("deny any host", Otherwise::allow, "203.0.113.7") == kDeny);
  CHECK(is("deny any host", Otherwise::allow, "64:ff9b::203.0.113.7") == kDeny);
  CHECK(is("deny any host", Otherwise::allow, "127.9.9.9") == kDeny);
  CHECK(is("deny any host", Otherwise::allow, "203.0.113.8") == kAllow);
  CHECK(is("allow any link-local", Otherwise::internet, "169.254.169.254") == kAllow);
  CHECK(is("allow any link-local", Otherwise::internet, "fe80::1") == kAllow);
  CHECK(is("deny any link-local", Otherwise::allow, "2002:a9fe:a9fe::") == kDeny);
  CHECK(is("allow any private", Otherwise::internet, "172.16.1.1") == kAllow);
  CHECK(is("allow any private", Otherwise::internet, "fd12::1") == kAllow);
  CHECK(is("allow any private", Otherwise::internet, "100.64.0.1") == kDeny);
  CHECK(is("deny any private", Otherwise::allow, "64:ff9b::10.0.0.1") == kDeny);
  CHECK(is("deny any private", Otherwise::allow, "64:ff9b:1:a00:0:100::") == kDeny);
  CHECK(is("allow any internet", Otherwise::deny, kWeb) == kAllow);
  CHECK(is("allow any internet", Otherwise::deny, "10.0.0.1") == kDeny);
  CHECK(is("deny any internet", Otherwise::allow, kWeb) == kDeny);
  CHECK(is("deny any internet", Otherwise::allow, "10.0.0.1") == kAllow);
  CHECK(is("deny any 198.51.100.0/24", Otherwise::internet, "64:ff9b::198.51.100.1") == kDeny);
  CHECK(is("allow any 10.0.0.0/8", Otherwise::deny, "64:ff9b::10.0.0.1") == kDeny);
}

TEST_CASE("policy: allow a domain, and nothing else") {
  const Rules rules{"allow any example.org", "allow any *.example.net"};
  const std::vector<std::string> org{"example.org"};
  const std::vector<std::string> net{"a.example.net"};
  const std::vector<std::string> both{"example.org", "a.b.example.net"};
  const std::vector<std::string> other{"other.org"};
  const auto otherwise = Otherwise::deny;
  const PolicyRow rows[] = {
      {"not yet", rules, otherwise, named(org, "<more>"), kNeedsName},
      {"its name", rules, otherwise, named(org, "example.org"), kAllow},
      {"a name below", rules, otherwise, named(org, "a.example.org"), kDeny},
      {"another name", rules, otherwise, named(org, "other.org"), kDeny},
      {"a name with this ending", rules, otherwise, named(org, "evilexample.org"), kDeny},
      {"no name", rules, otherwise, named(org, "<none>"), kDeny},
      {"another protocol", rules, otherwise, named(org, "<other>"), kDeny},
      {"no readable name", rules, otherwise, named(org, "<undecidable>"), kDeny},
      {"address not known", rules, otherwise, named({}, "example.org"), kDeny},
      {"address known otherwise", rules, otherwise, named(other, "example.org"), kDeny},
      {"not known, not yet", rules, otherwise, named({}, "<more>"), kDeny},
      {"below", rules, otherwise, named(net, "a.example.net"), kAllow},
      {"another below", rules, otherwise, named(net, "b.c.example.net"), kAllow},
      {"not below", rules, otherwise, named(net, "example.net"), kDeny},
      {"one server, first name", rules, otherwise, named(both, "example.org"), kAllow},
      {"one server, second name", rules, otherwise, named(both, "x.example.net"), kAllow},
      {"one server, third name", rules, otherwise, named(both, "other.org"), kDeny},
      {"one server, name of the other rule", rules, otherwise, named(org, "a.example.net"), kDeny},
      {"udp", rules, otherwise, udp(org, 443), kDeny},
      {"icmp",
       rules,
       otherwise,
       {.protocol = Protocol::icmp, .address = address(kWeb), .known_as = org},
       kAllow},
      {"allowed anyway", rules, Otherwise::internet, named(org, "<more>"), kAllow},
  };
  for (const PolicyRow& row : rows) check(row);
}

TEST_CASE("policy: a domain with ports, where no name can be shown") {
  const std::vector<std::string> org{"example.org"};
  const Rules ssh{"allow tcp example.org 22-22"};
  const Rules wide{"allow any example.org 1-65535"};
  const Rules quic{"allow udp example.org 443-443"};
  const auto otherwise = Otherwise::deny;
  const PolicyRow rows[] = {
      {"ssh", ssh, otherwise, named(org, "<other>", 22), kAllow},
      {"another port", ssh, otherwise, named(org, "<other>", 23), kDeny},
      {"TLS with another name", ssh, otherwise, named(org, "other.org", 22), kDeny},
      {"TLS without a name", ssh, otherwise, named(org, "<none>", 22), kDeny},
      {"h2 with prior knowledge", ssh, otherwise, named(org, "<undecidable>", 22), kDeny},
      {"ssh to an unknown address", ssh, otherwise, named({}, "<other>", 22), kDeny},
      {"any port", wide, otherwise, named(org, "<other>", 5432), kAllow},
      {"not the web's", wide, otherwise, named(org, "<other>", 443), kDeny},
      {"nor others of the web", wide, otherwise, named(org, "<other>", 8080), kDeny},
      {"udp", wide, otherwise, udp(org, 123), kAllow},
      {"quic unasked", wide, otherwise, udp(org, 443), kDeny},
      {"quic asked for", quic, otherwise, udp(org, 443), kAllow},
      {"quic to an unknown address", quic, otherwise, udp({}, 443), kDeny},
      {"quic's rule and tcp", quic, otherwise, named(org, "example.org"), kDeny},
  };
  for (const PolicyRow& row : rows) check(row);
}

TEST_CASE("policy: the owner of a domain opens nothing by what it answers") {
  const std::vector<std::string> org{"example.org"};
  const Rules rules{"allow any example.org"};
  for (const char* to : {"127.0.0.1", "0.0.0.0", "203.0.113.7", "169.254.169.254", "10.0.0.1",
                         "192.168.5.5", "100.64.0.1", "::1", "fe80::1", "fd00::1", "224.0.0.1",
                         "64:ff9b::127.0.0.1", "2002:a00:1::1"}) {
    CAPTURE(to);
    for (const auto otherwise : {Otherwise::deny, Otherwise::internet}) {
      check({"rebound", rules, otherwise, named(org, "example.org", 443, to), kDeny});
      check({"rebound udp", rules, otherwise, udp(org, 53, to), kDeny});
    }
  }
  const Rules with_address{"allow any example.org", "allow any 10.0.0.0/8"};
  check({"unless an address is allowed too", with_address, Otherwise::deny,
         named(org, "example.org", 443, "10.0.0.1"), kAllow});
}

TEST_CASE("policy: deny a domain") {
  const Rules rules{"deny any bad.org", "deny any *.bad.org"};
  const std::vector<std::string> bad{"bad.org"};
  const std::vector<std::string> shared{"bad.org", "good.org"};
  const auto otherwise = Otherwise::internet;
  const PolicyRow rows[] = {
      {"not yet", rules, otherwise, named({}, "<more>"), kNeedsName},
      {"by name, address unknown", rules, otherwise, named({}, "bad.org"), kDeny},
      {"below, address unknown", rules, otherwise, named({}, "a.b.bad.org"), kDeny},
      {"another name", rules, otherwise, named({}, "good.org"), kAllow},
      {"a shared server", rules, otherwise, named(shared, "good.org"), kAllow},
      {"a shared server, bad name", rules, otherwise, named(shared, "bad.org"), kDeny},
      {"no name, known", rules, otherwise, named(bad, "<none>"), kDeny},
      {"no name, unknown", rules, otherwise, named({}, "<none>"), kAllow},
      {"another protocol, known", rules, otherwise, named(bad, "<other>"), kDeny},
      {"another protocol, unknown", rules, otherwise, named({}, "<other>"), kAllow},
      {"no readable name", rules, otherwise, named({}, "<undecidable>"), kDeny},
      {"udp, known", rules, otherwise, udp(bad, 443), kDeny},
      {"udp, unknown", rules, otherwise, udp({}, 443), kAllow},
      {"a denied address is denied at once", rules, otherwise, named({}, "<more>", 443, "10.0.0.1"),
       kDeny},
      {"also where the rest is allowed", rules, Otherwise::allow,
       named(bad, "<none>", 443, "127.0.0.1"), kDeny},
  };
  for (const PolicyRow& row : rows) check(row);
}

TEST_CASE("policy: a name is waited for only where it changes the verdict") {
  const std::vector<std::string> org{"example.org"};
  const auto verdict = [&](const Rules& rules, Otherwise otherwise) {
    return policy(rules, otherwise).judge(named(org, "<more>"), kHost).verdict;
  };
  CHECK(verdict({"allow tcp *", "deny any example.org"}, Otherwise::deny) == kAllow);
  CHECK(verdict({"deny any example.org", "allow tcp *"}, Otherwise::deny) == kNeedsName);
  CHECK(verdict({"deny any example.org", "deny tcp *"}, Otherwise::allow) == kDeny);
  CHECK(verdict({"allow any example.org", "deny any *"}, Otherwise::allow) == kNeedsName);
  CHECK(verdict({"deny udp example.org"}, Otherwise::internet) == kAllow);
  CHECK(verdict({"deny tcp example.org 80-80"}, Otherwise::internet) == kAllow);
  // An exception to a denied domain, and the other way round.
  const Rules exception{"allow any a.example.org", "deny any *.example.org"};
  const FlowFacts a = named({"a.example.org"}, "a.example.org");
  CHECK(policy(exception).judge(a, kHost).verdict == kAllow);
  CHECK(policy(exception).judge(named({"a.example.org"}, "b.example.org"), kHost).verdict == kDeny);
}

TEST_CASE("policy: the reason is the rule that counted") {
  const Policy rules = policy({"deny any bad.org", "allow any 10.0.0.0/8"});
  CHECK(rules.judge(flow_to("10.0.0.1", 1), kHost).reason == "deny any bad.org");
  CHECK(rules.judge(named({}, "good.org", 1, "10.0.0.1"), kHost).reason == "allow any 10.0.0.0/8");
  CHECK(rules.judge(named({}, "bad.org"), kHost).reason == "deny any bad.org");
  CHECK(rules.judge(flow_to("192.168.0.1", 1), kHost).reason == "otherwise");
  CHECK(rules.judge(named({}, "<undecidable>"), kHost).reason == "no readable name");
}

TEST_CASE("policy: an open flow under new rules") {
  const FlowFacts unread = named({"example.org"}, "<more>");
  const FlowFacts read = named({"example.org"}, "example.org");
  CHECK(policy({}).judge_again(unread, kHost).verdict == kAllow);
  CHECK(policy({"allow any example.org"}, Otherwise::deny).judge_again(read, kHost).verdict ==
        kAllow);
  CHECK(policy({"allow any other.org"}, Otherwise::deny).judge_again(read, kHost).verdict == kDeny);
  CHECK(policy({"allow any example.org"}, Otherwise::deny).judge_again(unread, kHost).verdict ==
        kDeny);
  CHECK(policy({"deny any example.org"}).judge_again(read, kHost).verdict == kDeny);
  // Its address became one of the host's.
  const HostAddresses now({address(kWeb)});
  CHECK(policy({}).judge_again(read, now).verdict == kDeny);
}

TEST_CASE("policy: whether names count at all") {
  CHECK_FALSE(policy({}).has_domains());
  CHECK_FALSE(policy({"allow any 10.0.0.0/8", "deny any host"}).has_domains());
  CHECK(policy({"allow any *.example.org"}).has_domains());
}
