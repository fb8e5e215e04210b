// The policy by name, in the real process: the guest asks its resolver, connects, and shows a name
// or none; what arrives at the server is what counts.
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "net/answering_server.hpp"
#include "net/flow/packet.hpp"
#include "net/network_under_test.hpp"
#include "net/sockets.hpp"
#include "unit/net/names/made_hello.hpp"
#include "unit/net/policy/made_policy.hpp"

using namespace microvm;
using namespace microvm::test;
using net::space::SocketType;
using wire::Otherwise;

namespace {

constexpr size_t kWhole = 1 << 20;

wire::NetworkSetup names_setup(const std::vector<std::string>& rules,
                               Otherwise otherwise = Otherwise::deny) {
  wire::NetworkSetup setup;
  setup.otherwise = otherwise;
  for (const std::string& text : rules) setup.rules.push_back(rule(text));
  return setup;
}

NetworkOptions options(const wire::NetworkSetup& setup) {
  return {.setup = setup, .resolv_conf = AnsweringServer::kResolvConf};
}

std::string hello(const std::string& name, size_t fragment = 16'384) {
  return std::string(wire::as_text(hello_for(name, fragment)));
}

std::string request(const std::string& host) {
  return "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n";
}

std::string hello_without_name() {
  return std::string(wire::as_text(records(handshake(hello_body(some_extension())))));
}

enum class End {
  passes,         // all that the guest says arrives
  not_connected,  // the guest can not connect
  silenced,       // connected, and nothing arrives
};

// A connection of the guest to a server outside, and what became of what it said.
class Attempt {
 public:
  Attempt(NetworkUnderTest& network, const std::string& address, uint16_t port)
      : listener_(listen_tcp(endpoint(address, port))),
        guest_(network.guest_socket(address.find(':') == std::string::npos ? SocketType::tcp4
                                                                           : SocketType::tcp6)) {
    is_connected_ = network.connect_guest(guest_.get(), endpoint(address, port)) == 0;
    if (is_connected_) server_ = accept_one(listener_);
  }

  End say(const std::string& text, size_t step = kWhole) { return say(text, step, text); }
  // Of it, this is what passes.
  End say(const std::string& text, size_t step, const std::string& passes) {
    if (!is_connected_)
      return becomes_readable(listener_.get(), 0) ? End::passes : End::not_connected;
    for (size_t at = 0; at < text.size(); at += step) {
      const std::string part = text.substr(at, step);
      if (::send(guest_.get(), part.data(), part.size(), MSG_NOSIGNAL) < 0) break;
      if (step != kWhole) ::usleep(300);
    }
    got_.clear();
    return arrived(passes.size()) == passes ? End::passes : end_of_silence();
  }
  bool is_over() { return becomes_readable(guest_.get()) && receive_text(guest_.get()).empty(); }
  [[nodiscard]] const base::Fd& guest() const { return guest_; }
  [[nodiscard]] const base::Fd& server() const { return server_; }

 private:
  std::string arrived(size_t size) {
    while (got_.size() < size) {
      const std::string more = receive_text(server_.get());
      if (more.empty()) break;
      got_ += more;
    }
    return got_;
  }
  End end_of_silence() {
    CHECK(got_ == "");  // not even a part of it
    CHECK(is_over());
    return End::silenced;
  }

  base::Fd listener_;
  base::Fd guest_;
  base::Fd server_;
  bool is_connected_ = false;
  std::string got_;
};

struct NameRow {
  const char* what;
  const char* to;
  uint16_t port;
  std::string says;
  End end;
  size_t step = kWhole;
};

// In `names`: a name, and the addresses that it has.
using Names = std::vector<std::pair<std::string, std::vector<std::string>>>;

void check_names(const wire::NetworkSetup& setup, const Names& names,
                 const std::vector<NameRow>& rows) {
  if (!enter_test_host()) return;
  AnsweringServer server;
  NetworkUnderTest network(options(setup));
  for (const auto& [name, addresses] : names) {
    server.set(name, addresses);
    learn_as_guest(network, name);
  }
  for (const NameRow& row : rows) {
    CAPTURE(row.what);
    CHECK(Attempt(network, row.to, row.port).say(row.says, row.step) == row.end);
  }
}

constexpr const char* kOrg = "198.51.100.1";     // example.org
constexpr const char* kShared = "198.51.100.2";  // example.org, a.example.net, other.org
constexpr const char* kUnknown = "198.51.100.9";
constexpr const char* kOrg6 = "2001:db8::1";
const Names kNames{{"example.org", {kOrg, kShared, kOrg6}},
                   {"a.example.net", {kShared}},
                   {"other.org", {kShared, "198.51.100.3"}},
                   {"ssh.example", {kOrg}}};

}  // namespace

TEST_CASE("policy: allowed names, and what else a flow could show") {
  const std::string ssh = "SSH-2.0-OpenSSH_9.2\r\n";
  check_names(
      names_setup(
          {"allow any example.org", "allow any *.example.net", "allow tcp ssh.example 22-22"}),
      kNames,
      {
          {"TLS", kOrg, 443, hello("example.org"), End::passes},
          {"TLS on another port", kOrg, 8443, hello("example.org"), End::passes},
          {"TLS, capitals and a dot", kOrg, 443, hello("EXAMPLE.org."), End::passes},
          {"HTTP", kOrg, 80, request("example.org"), End::passes},
          {"HTTP with a port", kOrg, 80, request("Example.ORG:80"), End::passes},
          {"HTTP to the name in the target", kOrg, 80,
           "GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n", End::passes},
          {"a name below a domain", kShared, 443, hello("b.a.example.net"), End::passes},
          {"the first of a shared server's", kShared, 443, hello("example.org"), End::passes},
          {"IPv6", kOrg6, 443, hello("example.org"), End::passes},
          {"IPv6, HTTP", kOrg6, 80, request("example.org"), End::passes},
          {"a hello in records of one byte", kOrg, 443, hello("example.org", 1), End::passes},
          {"a hello byte by byte", kOrg, 443, hello("example.org", 50), End::passes, 1},
          {"a request byte by byte", kOrg, 80, request("example.org"), End::passes, 1},
          {"ssh", kOrg, 22, ssh, End::passes},

          {"TLS with another name", kOrg, 443, hello("other.org"), End::silenced},
          {"TLS with a name below", kOrg, 443, hello("a.example.org"), End::silenced},
          {"TLS with the ending", kOrg, 443, hello("notexample.org"), End::silenced},
          {"TLS without a name", kOrg, 443, hello_without_name(), End::silenced},
          {"TLS with an address", kOrg, 443, hello(kOrg), End::silenced},
          {"another name byte by byte", kOrg, 443, hello("other.org", 3), End::silenced, 1},
          {"the third of a shared server's", kShared, 443, hello("other.org"), End::silenced},
          {"the domain above", kShared, 443, hello("example.net"), End::silenced},
          {"IPv6, another name", kOrg6, 443, hello("other.org"), End::silenced},
          {"HTTP with another Host", kOrg, 80, request("other.org"), End::silenced},
          {"HTTP with an address", kOrg, 80, request(kOrg), End::silenced},
          {"HTTP without Host", kOrg, 80, "GET / HTTP/1.0\r\n\r\n", End::silenced},
          {"two Hosts", kOrg, 80, "GET / HTTP/1.1\r\nHost: example.org\r\nHost: other.org\r\n\r\n",
           End::silenced},
          {"two Hosts, the other way round", kOrg, 80,
           "GET / HTTP/1.1\r\nHost: other.org\r\nHost: example.org\r\n\r\n", End::silenced},
          {"target and Host differ", kOrg, 80,
           "GET http://other.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n", End::silenced},
          {"a proxy's request", kOrg, 80,
           "CONNECT other.org:443 HTTP/1.1\r\nHost: other.org:443\r\n\r\n", End::silenced},
          {"HTTP/2 at once", kOrg, 80, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", End::silenced},
          {"bare line ends", kOrg, 80, "GET / HTTP/1.1\nHost: example.org\n\n", End::silenced},
          {"HTTP/0.9", kOrg, 80, "GET /\r\n", End::silenced},
          {"an empty line first", kOrg, 80, "\r\n" + request("example.org"), End::silenced},
          {"a head without end", kOrg, 80, "GET /" + std::string(20'000, 'a'), End::silenced},
          {"another protocol", kOrg, 443, ssh, End::silenced},
          {"ssh's port, TLS with another name", kOrg, 22, hello("other.org"), End::silenced},
          {"ssh elsewhere", kOrg, 2222, ssh, End::silenced},

          {"an address that was not asked for", kUnknown, 443, hello("example.org"),
           End::not_connected},
          {"of a name that is not allowed", "198.51.100.3", 443, hello("example.org"),
           End::not_connected},
          {"an address as it is", "1.1.1.1", 443, hello("one.one.one.one"), End::not_connected},
          {"IPv6 that was not asked for", "2001:db8::9", 443, hello("example.org"),
           End::not_connected},
          {"another resolver", "8.8.8.8", 53, "x", End::not_connected},
      });
}

TEST_CASE("policy: the requests behind the first are for the same name") {
  if (!enter_test_host()) return;
  AnsweringServer server;
  NetworkUnderTest network(options(names_setup({"allow any example.org"})));
  server.set("example.org", {kOrg});
  learn_as_guest(network, "example.org");
  const std::string upload =
      "POST / HTTP/1.1\r\nHost: example.org\r\nContent-Length: 300000\r\n\r\n" +
      std::string(300'000, 'x');
  const std::string all = request("example.org") + upload + request("example.org");
  Attempt fine(network, kOrg, 80);
  CHECK(fine.say(all) == End::passes);
  CHECK(fine.say(request("example.org")) == End::passes);
  ::shutdown(fine.guest().get(), SHUT_WR);
  REQUIRE(becomes_readable(fine.server().get()));
  CHECK(receive_text(fine.server().get()).empty());
  send_text(fine.server().get(), "the answer");
  CHECK(receive_text(fine.guest().get()) == "the answer");

  const auto evil = request("other.org");
  uint16_t port = 81;
  for (const std::string& first : {request("example.org"), all}) {
    Attempt slow(network, kOrg, port++);
    CHECK(slow.say(first) == End::passes);
    send_text(slow.guest().get(), evil);
    CHECK(slow.is_over());
    CHECK(receive_text(slow.server().get()).empty());
  }
  Attempt at_once(network, kOrg, port++);
  CHECK(at_once.say(request("example.org") + evil, kWhole, request("example.org")) == End::passes);
  CHECK(at_once.is_over());
  CHECK(receive_text(at_once.server().get()).empty());
  Attempt unfinished(network, kOrg, port++);
  CHECK(unfinished.say(request("example.org")) == End::passes);
  send_text(unfinished.guest().get(), "GET / HTTP/1.1\r\nHost: ");
  ::shutdown(unfinished.guest().get(), SHUT_WR);
  CHECK(unfinished.is_over());
  CHECK(receive_text(unfinished.server().get()).empty());
}

TEST_CASE("policy: a denied name, whatever the address") {
  check_names(
      names_setup({"deny any other.org", "deny any *.other.org"}, Otherwise::internet), kNames,
      {
          {"its name", kUnknown, 443, hello("other.org"), End::silenced},
          {"below", kUnknown, 443, hello("A.Other.org"), End::silenced},
          {"its Host", kUnknown, 80, request("other.org"), End::silenced},
          {"in pieces", kUnknown, 443, hello("other.org", 2), End::silenced, 5},
          {"no name, its address", "198.51.100.3", 443, hello_without_name(), End::silenced},
          {"unreadable", kUnknown, 80, "GET /\r\n", End::silenced},
          {"another name on a shared server", kShared, 443, hello("example.org"), End::passes},
          {"another name", kUnknown, 443, hello("notother.org"), End::passes},
          {"no name", kUnknown, 443, hello_without_name(), End::passes},
          {"another protocol", kUnknown, 22, "SSH-2.0-x\r\n", End::passes},
          {"what is denied anyway", "10.0.0.1", 443, hello("example.org"), End::not_connected},
      });
}

TEST_CASE("policy: the owner of an allowed name opens no address of the host's") {
  std::vector<NameRow> rows;
  Names names;
  const std::vector<const char*> inside{"10.0.0.1",          "192.168.1.1",     "172.16.0.1",
                                        "100.64.0.1",        "169.254.169.254", "fd00::1",
                                        "64:ff9b::10.0.0.1", "2002:a00:1::1"};
  for (const char* to : inside)
    rows.push_back({to, to, 443, hello("rebind.example"), End::not_connected});
  names.push_back({"rebind.example", {inside.begin(), inside.end()}});
  check_names(names_setup({"allow any rebind.example"}), names, rows);
  check_names(names_setup({"allow any rebind.example"}, Otherwise::internet), names, rows);
  check_names(
      names_setup({"allow any rebind.example", "allow tcp 10.0.0.0/8 443-443"}), names,
      {{"an address that is allowed too", "10.0.0.1", 443, hello("rebind.example"), End::passes}});
}

TEST_CASE(
    "policy: a name that changes its address opens the new one, and the old one for a while") {
  if (!enter_test_host()) return;
  AnsweringServer server;
  NetworkUnderTest network(options(names_setup({"allow any example.org"})));
  server.set("example.org", {"198.51.100.21"}, 0);
  learn_as_guest(network, "example.org");
  CHECK(Attempt(network, "198.51.100.22", 443).say(hello("example.org")) == End::not_connected);
  server.set("example.org", {"198.51.100.22"}, 0);
  learn_as_guest(network, "example.org");
  CHECK(Attempt(network, "198.51.100.22", 443).say(hello("example.org")) == End::passes);
  CHECK(Attempt(network, "198.51.100.21", 443).say(hello("example.org")) == End::passes);
}

TEST_CASE("policy: a change ends what it forbids, and nothing else") {
  if (!enter_test_host()) return;
  AnsweringServer server;
  NetworkUnderTest network(options(names_setup({"allow any example.org", "allow any other.org"})));
  for (const auto& [name, addresses] : kNames) {
    server.set(name, addresses);
    learn_as_guest(network, name);
  }
  Attempt stays(network, kOrg, 443);
  Attempt ends(network, "198.51.100.3", 443);
  Attempt unread(network, kShared, 443);
  CHECK(stays.say(hello("example.org")) == End::passes);
  CHECK(ends.say(hello("other.org")) == End::passes);
  network.change(names_setup({"allow any example.org"}));
  CHECK(ends.is_over());
  send_text(stays.guest().get(), "more");
  CHECK(receive_text(stays.server().get()) == "more");
  CHECK(unread.say(hello("other.org")) == End::silenced);
  CHECK(Attempt(network, "198.51.100.3", 444).say(hello("other.org")) == End::not_connected);
  network.change(names_setup({"allow any example.org", "allow any other.org"}));
  CHECK(Attempt(network, "198.51.100.3", 444).say(hello("other.org")) == End::passes);
  network.change(names_setup({}));
  CHECK(stays.is_over());
}

TEST_CASE("policy: flows that were let in unread end when a name becomes necessary") {
  if (!enter_test_host()) return;
  AnsweringServer server;
  NetworkUnderTest network(options(names_setup({}, Otherwise::internet)));
  Attempt open(network, kUnknown, 443);
  CHECK(open.say(hello("other.org")) == End::passes);
  network.change(names_setup({"deny any other.org"}, Otherwise::internet));
  CHECK(open.is_over());
}

TEST_CASE("policy: a server that speaks first is heard before the guest has shown a name") {
  if (!enter_test_host()) return;
  AnsweringServer server;
  NetworkUnderTest network(options(names_setup({"allow tcp ssh.example 22-22"})));
  server.set("ssh.example", {kOrg});
  learn_as_guest(network, "ssh.example");
  Attempt attempt(network, kOrg, 22);
  send_text(attempt.server().get(), "SSH-2.0-server\r\n");
  CHECK(receive_text(attempt.guest().get()) == "SSH-2.0-server\r\n");
  CHECK(attempt.say("SSH-2.0-client\r\n") == End::passes);
}

TEST_CASE("policy: UDP under names goes by address and named ports") {
  if (!enter_test_host()) return;
  AnsweringServer server;
  NetworkUnderTest network(
      options(names_setup({"allow any example.org 1-65535", "allow udp other.org 443-443"})));
  for (const auto& [name, addresses] : kNames) {
    server.set(name, addresses);
    learn_as_guest(network, name);
  }
  struct UdpRow {
    const char* to;
    uint16_t port;
    bool passes;
  };
  for (const UdpRow& row : {UdpRow{kOrg, 123, true}, UdpRow{kOrg, 443, false},
                            UdpRow{"198.51.100.3", 443, true}, UdpRow{"198.51.100.3", 123, false},
                            UdpRow{kUnknown, 123, false}, UdpRow{"8.8.8.8", 53, false}}) {
    CAPTURE(row.to);
    CAPTURE(row.port);
    const base::Fd there = bind_udp(endpoint(row.to, row.port));
    const base::Fd guest = network.guest_socket(SocketType::udp4);
    REQUIRE(network.connect_guest(guest.get(), endpoint(row.to, row.port)) == 0);
    send_text(guest.get(), "q");
    CHECK(becomes_readable(there.get(), row.passes ? 5000 : 200) == row.passes);
  }
}

TEST_CASE("policy: limits of new and of open flows") {
  if (!enter_test_host()) return;
  auto setup = names_setup({}, Otherwise::internet);
  setup.limits.open_flows = 3;
  NetworkUnderTest network(options(setup));
  const base::Fd listener = listen_tcp(endpoint(kOrg, 443));
  const auto connects = [&](size_t count) {
    std::vector<base::Fd> sockets;
    size_t connected = 0;
    for (size_t i = 0; i < count; ++i) {
      sockets.push_back(network.guest_socket(SocketType::tcp4));
      if (network.connect_guest(sockets.back().get(), endpoint(kOrg, 443)) == 0) ++connected;
    }
    return connected;
  };
  CHECK(connects(6) == 3);
  CHECK(network.status().flows_refused_by_limit == 3);
  setup.limits = {.flows_per_second = 2};
  network.change(setup);
  for (int i = 0; i < 100 && network.status().flows_open > 0; ++i) ::usleep(10'000);
  const size_t connected = connects(20);
  CHECK(connected >= 2);
  CHECK(connected < 20);
}
