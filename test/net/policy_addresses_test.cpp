// The policy as it holds in the real process: what a flow to each kind of address becomes. Every
// first packet is made by hand, as the guest's kernel would not send many of them.
#include <doctest/doctest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "net/first_frame.hpp"
#include "net/network_under_test.hpp"
#include "net/space/netlink.hpp"
#include "unit/net/policy/made_policy.hpp"

using namespace microvm;
using namespace microvm::test;
using wire::FlowProtocol;
using wire::Otherwise;

namespace {

// let_out: it was tried outside, where nobody listens.
enum class Fate { refused_by_rule, let_out, nothing };

struct AddressRow {
  const char* to;
  Fate fate;
  FlowProtocol protocol = FlowProtocol::tcp;
  uint16_t port = 443;
};

constexpr Fate kRefused = Fate::refused_by_rule;
constexpr Fate kLetOut = Fate::let_out;

wire::NetworkSetup setup_of(const std::vector<std::string>& rules, Otherwise otherwise) {
  wire::NetworkSetup setup;
  setup.otherwise = otherwise;
  for (const std::string& text : rules) setup.rules.push_back(rule(text));
  return setup;
}

Fate fate_of(NetworkUnderTest& network, const AddressRow& row, uint16_t guest_port) {
  const wire::NetStatus before = network.status();
  network.send_as_guest(first_frame(row.protocol, guest_port, endpoint(row.to, row.port)));
  for (int i = 0; i < 300; ++i) {
    const wire::NetStatus now = network.status();
    if (now.flows_refused_by_rule > before.flows_refused_by_rule) return Fate::refused_by_rule;
    if (now.flows_failed > before.flows_failed || now.flows > before.flows) return Fate::let_out;
    ::usleep(10'000);
  }
  return Fate::nothing;
}

void check_all(const std::vector<std::string>& rules, Otherwise otherwise,
               const std::vector<AddressRow>& rows) {
  if (!enter_test_host()) return;
  NetworkUnderTest network({.setup = setup_of(rules, otherwise)});
  uint16_t guest_port = 20'000;
  for (const AddressRow& row : rows) {
    CAPTURE(row.to);
    CAPTURE(row.port);
    CAPTURE(static_cast<int>(row.protocol));
    CHECK(fate_of(network, row, ++guest_port) == row.fate);
  }
}

}  // namespace

TEST_CASE("policy: without rules the internet is reached, and nothing else") {
  check_all({}, Otherwise::internet,
            {
                {"93.184.216.34", kLetOut},
                {"1.1.1.1", kLetOut},
                {"192.0.2.1", kLetOut},  // documentation
                {"198.51.100.7", kLetOut},
                {"203.0.113.9", kLetOut},
                {"9.255.255.255", kLetOut},
                {"11.0.0.1", kLetOut},
                {"100.63.255.255", kLetOut},
                {"172.32.0.1", kLetOut},
                {"223.255.255.254", kLetOut},
                {"0.0.0.0", kRefused},
                {"0.1.2.3", kRefused},
                {"10.0.0.1", kRefused},
                {"10.0.2.2", kRefused},  // the gateway
                {"10.255.255.53", kRefused},
                {"100.64.0.1", kRefused},
                {"127.0.0.1", kRefused},
                {"127.255.0.1", kRefused},
                {"169.254.169.254", kRefused},
                {"172.16.0.1", kRefused},
                {"172.31.255.255", kRefused},
                {"192.0.0.170", kRefused},
                {"192.88.99.1", kRefused},
                {"192.168.0.1", kRefused},
                {"198.18.0.1", kRefused},
                {"224.0.0.251", kRefused},
                {"239.255.255.250", kRefused},
                {"240.0.0.1", kRefused},
                {"255.255.255.255", kRefused},
                {"169.254.169.254", kRefused, FlowProtocol::tcp, 80},
                {"10.0.0.1", kRefused, FlowProtocol::udp, 53},
                {"255.255.255.255", kRefused, FlowProtocol::udp, 67},
                {"224.0.0.251", kRefused, FlowProtocol::udp, 5353},
                {"127.0.0.1", kRefused, FlowProtocol::udp, 53},
                {"127.0.0.1", kRefused, FlowProtocol::icmp},
                {"192.168.0.1", kRefused, FlowProtocol::icmp},
                {"8.8.8.8", kLetOut, FlowProtocol::udp, 53},
                {"8.8.8.8", kLetOut, FlowProtocol::icmp},
            });
}

TEST_CASE("policy: the same with IPv6, and with IPv4 inside of it") {
  check_all({}, Otherwise::internet,
            {
                {"2606:4700:4700::1111", kLetOut},
                {"2001:db8::1", kLetOut},  // documentation
                {"2a00:1450::1", kLetOut},
                {"::", kRefused},
                {"::1", kRefused},
                {"fe80::1", kRefused},
                {"fec0::1", kRefused},
                {"fd00:ec2::254", kRefused},
                {"fd6d:766d::2", kRefused},  // the gateway
                {"fc00::1", kRefused},
                {"ff02::1", kRefused},
                {"ff0e::1", kRefused},
                {"100::1", kRefused},
                {"4000::1", kRefused},
                {"2001:10::1", kRefused},
                {"64:ff9b::8.8.8.8", kLetOut},
                {"64:ff9b::127.0.0.1", kRefused},
                {"64:ff9b::169.254.169.254", kRefused},
                {"64:ff9b::10.0.0.1", kRefused},
                {"64:ff9b:1::8.8.8.8", kRefused},
                {"::ffff:0:127.0.0.1", kRefused},
                {"::127.0.0.1", kRefused},
                {"2002:808:808::1", kLetOut},
                {"2002:7f00:1::1", kRefused},
                {"2002:a00:1::1", kRefused},
                {"2002:a9fe:a9fe::1", kRefused},
                {"2001:0:808:808::1", kRefused},
                {"2606:4700::5efe:127.0.0.1", kRefused},
                {"fd00::1", kRefused, FlowProtocol::udp, 53},
                {"ff02::fb", kRefused, FlowProtocol::udp, 5353},
                {"::1", kRefused, FlowProtocol::icmp},
                {"2606:4700::1", kLetOut, FlowProtocol::udp, 53},
                {"::ffff:127.0.0.1", kRefused},
            });
}

TEST_CASE("policy: rules by address, protocol and port; the first that fits counts") {
  check_all({"allow tcp 10.1.0.0/16 80-90", "deny any 10.0.0.0/8",
             "allow udp 192.168.7.53/32 53-53", "allow any link-local", "deny any 198.51.100.0/24",
             "deny icmp internet", "allow any fd00::/8", "deny any ::/0"},
            Otherwise::internet,
            {
                {"10.1.2.3", kLetOut, FlowProtocol::tcp, 80},
                {"10.1.2.3", kLetOut, FlowProtocol::tcp, 90},
                {"10.1.2.3", kRefused, FlowProtocol::tcp, 91},
                {"10.1.2.3", kRefused, FlowProtocol::udp, 80},
                {"10.2.2.3", kRefused, FlowProtocol::tcp, 80},
                {"192.168.7.53", kLetOut, FlowProtocol::udp, 53},
                {"192.168.7.53", kRefused, FlowProtocol::udp, 54},
                {"192.168.7.53", kRefused, FlowProtocol::tcp, 53},
                {"192.168.7.54", kRefused, FlowProtocol::udp, 53},
                {"169.254.169.254", kLetOut, FlowProtocol::tcp, 80},
                {"198.51.100.7", kRefused},
                {"64:ff9b::198.51.100.7", kRefused},
                {"8.8.8.8", kRefused, FlowProtocol::icmp},
                {"8.8.8.8", kLetOut},
                {"fd00::1", kLetOut},
                {"2606:4700::1", kRefused},
            });
}

TEST_CASE("policy: nothing but what is allowed, and everything but what is denied") {
  check_all({"allow any 93.184.216.34/32 443-443", "allow any loopback"}, Otherwise::deny,
            {
                {"93.184.216.34", kLetOut},
                {"93.184.216.34", kRefused, FlowProtocol::tcp, 80},
                {"93.184.216.35", kRefused},
                {"93.184.216.34", kRefused, FlowProtocol::icmp},
                {"127.0.0.1", kLetOut},
                {"::1", kLetOut},
                {"64:ff9b::127.0.0.1", kRefused},
            });
  check_all({"deny any loopback", "deny any host", "deny any private"}, Otherwise::allow,
            {
                {"127.0.0.1", kRefused},
                {"0.0.0.0", kRefused},
                {"::1", kRefused},
                {"::", kRefused},
                {"64:ff9b::127.0.0.1", kRefused},
                {"10.0.0.1", kRefused},
                {"2002:a00:1::1", kRefused},
                {"100.64.0.1", kLetOut},
                {"169.254.169.254", kLetOut},
                {"8.8.8.8", kLetOut},
            });
}

TEST_CASE("policy: addresses that the host gets while it runs are its own") {
  if (!enter_test_host()) return;
  NetworkUnderTest network({.setup = setup_of({}, Otherwise::internet)});
  CHECK(fate_of(network, {"203.0.113.77", kLetOut}, 30'000) == kLetOut);
  CHECK(fate_of(network, {"2001:db8:77::1", kLetOut}, 30'001) == kLetOut);
  net::space::NetlinkBatch batch;
  batch.add_address(1, {{203, 0, 113, 77}, 32});
  batch.add_address(1, {{0x20, 1, 0xd, 0xb8, 0, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 128});
  REQUIRE(batch.run());
  ::usleep(200'000);
  CHECK(fate_of(network, {"203.0.113.77", kRefused}, 30'002) == kRefused);
  CHECK(fate_of(network, {"2001:db8:77::1", kRefused}, 30'003) == kRefused);
  CHECK(fate_of(network, {"64:ff9b::203.0.113.77", kRefused}, 30'004) == kRefused);
  CHECK(fate_of(network, {"203.0.113.78", kLetOut}, 30'005) == kLetOut);
}
