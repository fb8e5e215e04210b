// The resolver that a guest sees, and rules by what it answered.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <string>
#include <thread>

#include "net/nameserver.hpp"
#include "net/network_under_test.hpp"
#include "net/sockets.hpp"

using namespace microvm;
using namespace microvm::test;
using net::space::SocketType;

namespace {

constexpr const char* kServer = "192.0.2.53";

wire::NetworkSetup only_domain(const std::string& domain) {
  wire::NetworkSetup setup;
  setup.otherwise = wire::Otherwise::deny;
  wire::NetworkRule rule;
  rule.verdict = wire::Verdict::allow;
  rule.target = wire::NetworkRule::Target::domain;
  rule.domain = domain;
  rule.text = "allow " + domain;
  setup.rules.push_back(rule);
  return setup;
}

base::Fd resolver_socket(NetworkUnderTest& network, SocketType type) {
  const bool is_ipv6 = type == SocketType::udp6 || type == SocketType::tcp6;
  base::Fd socket = network.guest_socket(type);
  REQUIRE(network.connect_guest(socket.get(),
                                endpoint(is_ipv6 ? "fd6d:766d::3" : "10.0.2.3", 53)) == 0);
  return socket;
}

}  // namespace

TEST_CASE("DNS: the host's nameserver answers, over UDP and TCP, whatever the policy is") {
  if (!enter_test_host()) return;
  NameserverOfTest server(kServer);
  server.set("example.org", {"93.184.216.34"});
  wire::NetworkSetup setup;
  setup.otherwise = wire::Otherwise::deny;
  NetworkUnderTest network({.setup = setup, .resolv_conf = std::string("nameserver ") + kServer});
  for (const SocketType type :
       {SocketType::udp4, SocketType::udp6, SocketType::tcp4, SocketType::tcp6}) {
    CAPTURE(static_cast<int>(type));
    const bool over_tcp = type == SocketType::tcp4 || type == SocketType::tcp6;
    const base::Fd socket = resolver_socket(network, type);
    const auto found = look_up(socket.get(), "example.org", over_tcp);
    REQUIRE(found.size() == 1);
    CHECK(found[0] == endpoint("93.184.216.34", 0));
    uint16_t error = 0;
    CHECK(look_up(socket.get(), "example.net", over_tcp, &error).empty());
    CHECK(error == net::dns::kNoSuchName);
  }
  CHECK(network.status().dns_queries == 8);
  CHECK(server.queries() == 5);  // a name is remembered, that there is none only with a SOA
}

TEST_CASE("DNS: a nameserver that does not answer is SERVFAIL in time; another one is asked then") {
  if (!enter_test_host()) return;
  const base::Fd deaf = bind_udp(endpoint(kServer, 53));
  NetworkUnderTest network(
      {.setup = allow_all(), .resolv_conf = std::string("nameserver ") + kServer});
  const base::Fd socket = resolver_socket(network, SocketType::udp4);
  uint16_t error = 0;
  const auto began = std::chrono::steady_clock::now();
  CHECK(look_up(socket.get(), "example.org", false, &error).empty());
  CHECK(error == net::dns::kServerFailure);
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(6));
  CHECK(network.status().dns_failed == 1);

  NameserverOfTest server("192.0.2.54");
  server.set("example.org", {"93.184.216.34"});
  network.write_resolv_conf("nameserver 192.0.2.54");
  look_up(socket.get(), "other.example.org", false, &error);  // which has the file read anew
  CHECK(look_up(socket.get(), "example.org").size() == 1);
}

TEST_CASE("DNS: a rule by domain holds by what was answered, and by the name that a flow shows") {
  if (!enter_test_host()) return;
  NameserverOfTest server(kServer);
  server.set("example.org", {"93.184.216.34"});
  NetworkUnderTest network(
      {.setup = only_domain("example.org"), .resolv_conf = std::string("nameserver ") + kServer});
  const auto there = endpoint("93.184.216.34", 80);
  const base::Fd listener = listen_tcp(there);
  const auto connect = [&](const base::Fd& guest) {
    return network.connect_guest(guest.get(), there);
  };
  const base::Fd too_early = network.guest_socket(SocketType::tcp4);
  CHECK(connect(too_early) == ECONNREFUSED);
  const base::Fd resolver = resolver_socket(network, SocketType::udp4);
  REQUIRE(look_up(resolver.get(), "example.org").size() == 1);

  const base::Fd guest = network.guest_socket(SocketType::tcp4);
  REQUIRE(connect(guest) == 0);
  const base::Fd other = network.guest_socket(SocketType::tcp4);
  REQUIRE(connect(other) == 0);
  const base::Fd server_end = accept_one(listener);
  const base::Fd other_end = accept_one(listener);
  const std::string head = "GET / HTTP/1.1\r\nHost: exam";
  send_text(guest.get(), head);
  CHECK_FALSE(becomes_readable(server_end.get(), 100));
  send_text(guest.get(), "ple.org\r\n\r\n");
  CHECK(receive_text(server_end.get()) == head + "ple.org\r\n\r\n");
  send_text(server_end.get(), "200");
  CHECK(receive_text(guest.get()) == "200");

  send_text(other.get(), "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n");
  CHECK(receive_text(other_end.get()).empty());
  errno = 0;
  CHECK(receive_text(other.get()).empty());
  CHECK(errno == ECONNRESET);
}
