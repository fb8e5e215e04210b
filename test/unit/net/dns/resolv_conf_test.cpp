#include "net/dns/resolv_conf.hpp"

#include <doctest/doctest.h>

using namespace microvm::net;
using namespace std::chrono_literals;
using Names = std::vector<std::string>;

namespace {

constexpr microvm::wire::Ipv6Address kEight{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 8, 8, 8, 8};

}  // namespace

TEST_CASE("resolv.conf: what counts in it") {
  const ResolvConf conf = parse_resolv_conf(
      "# a comment\n"
      "; another\n"
      "domain first.example\n"
      "search corp.Example. b.example bad..name\n"
      "nameserver 8.8.8.8\r\n"
      "nameserver\t2001:db8::1  trailing\n"
      "nameserver nonsense\n"
      "nameserver fe80::1%eth0\n"
      "nameserver 9.9.9.9\n"
      " nameserver 1.1.1.1\n"
      "options ndots:5 timeout:1 attempts:9 use-vc rotate unknown:3\n"
      "sortlist 1.2.3.4");
  REQUIRE(conf.nameservers.size() == 3);
  CHECK(conf.nameservers[0].address == kEight);
  CHECK(conf.nameservers[1].address[0] == 0x20);
  CHECK(conf.nameservers[2].scope == "eth0");
  CHECK(conf.nameservers[2].port == 53);
  CHECK(conf.search == Names{"corp.example", "b.example"});
  CHECK(conf.ndots == 5);
  CHECK(conf.timeout == 1s);
  CHECK(conf.attempts == 5);
  CHECK(conf.uses_tcp);
}

TEST_CASE("resolv.conf: defaults, and numbers that are none") {
  const ResolvConf conf = parse_resolv_conf("");
  REQUIRE(conf.nameservers.size() == 1);
  CHECK(conf.nameservers[0].address[12] == 127);
  CHECK(conf.search.empty());
  CHECK(conf.ndots == 1);
  CHECK(conf.timeout == 5s);
  CHECK(conf.attempts == 2);
  CHECK(parse_resolv_conf("options timeout:0 attempts:0").timeout == 1s);
  CHECK(parse_resolv_conf("options timeout:x attempts:-1 ndots:").attempts == 2);
  CHECK(parse_resolv_conf("options timeout:99999999999999999999").timeout == 30s);
  CHECK(parse_resolv_conf("search a\nsearch b c").search == Names{"b", "c"});
  CHECK(parse_resolv_conf("search a b\ndomain c d").search == Names{"c"});
  CHECK(parse_resolv_conf("nameserver 8.8.8.8") == parse_resolv_conf("nameserver 8.8.8.8\n\n"));
}

TEST_CASE("resolv.conf: bounded") {
  std::string text = "search";
  for (int i = 0; i < 100; ++i) text += " d" + std::to_string(i);
  CHECK(parse_resolv_conf(text).search.size() == kMaxSearchDomains);
  CHECK(parse_resolv_conf(std::string(kMaxResolvConfBytes, '\n') + "search a").search.empty());
}
