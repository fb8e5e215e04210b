// The management socket: counters, changes that end what they forbid, the log of flows.
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>

#include "net/network_under_test.hpp"
#include "net/sockets.hpp"
#include "sys/socket.hpp"

using namespace microvm;
using namespace microvm::test;
using net::space::SocketType;

namespace {

wire::FlowRecord next_record(int connection) {
  REQUIRE(becomes_readable(connection));
  auto received = sys::receive_message(connection);
  REQUIRE(received);
  auto message = wire::decode_net(received->bytes);
  REQUIRE(message);
  REQUIRE(std::holds_alternative<wire::FlowRecord>(*message));
  return std::get<wire::FlowRecord>(*message);
}

}  // namespace

TEST_CASE("management: a change ends what it forbids, and nothing else") {
  if (!enter_test_host()) return;
  NetworkUnderTest network;
  const auto forbidden = endpoint("93.184.216.34", 80);
  const auto allowed = endpoint("93.184.217.34", 80);
  const base::Fd listener = listen_tcp(forbidden);
  const base::Fd other_listener = listen_tcp(allowed);
  const base::Fd udp_server = bind_udp(forbidden);
  const base::Fd guest = network.guest_socket(SocketType::tcp4);
  const base::Fd other = network.guest_socket(SocketType::tcp4);
  const base::Fd udp = network.guest_socket(SocketType::udp4);
  REQUIRE(network.connect_guest(guest.get(), forbidden) == 0);
  REQUIRE(network.connect_guest(other.get(), allowed) == 0);
  REQUIRE(network.connect_guest(udp.get(), forbidden) == 0);
  send_text(udp.get(), "q");
  CHECK(receive_text(udp_server.get()) == "q");
  const base::Fd server = accept_one(listener);
  const base::Fd other_server = accept_one(other_listener);

  wire::NetworkSetup setup = allow_all();
  setup.rules.push_back(prefix_rule(wire::Verdict::deny, "93.184.216.0/24"));
  REQUIRE(std::holds_alternative<wire::NetOk>(network.change(setup)));

  errno = 0;
  CHECK(receive_text(guest.get()).empty());
  CHECK(errno == ECONNRESET);
  CHECK(receive_text(server.get()).empty());
  send_text(udp.get(), "again");
  CHECK_FALSE(becomes_readable(udp_server.get(), 200));
  send_text(other.get(), "hello");
  CHECK(receive_text(other_server.get()) == "hello");
  const auto status = network.status();
  CHECK(status.flows == 3);
  CHECK(status.flows_open == 1);
  CHECK(status.flows_refused_by_rule >= 2);
  CHECK(status.bytes_from_guest == 6);
}

TEST_CASE("management: what is no setup changes nothing") {
  if (!enter_test_host()) return;
  NetworkUnderTest network;
  const auto reply = network.ask(wire::SetupChanged{});
  REQUIRE(std::holds_alternative<wire::NetError>(reply));
  CHECK(std::get<wire::NetError>(reply).code == static_cast<uint32_t>(ErrorCode::protocol));
  const auto unknown = network.ask(wire::NetUp{});
  REQUIRE(std::holds_alternative<wire::NetError>(unknown));
  CHECK(network.status().flows == 0);
}

TEST_CASE("management: the log tells of flows from when it was asked for") {
  if (!enter_test_host()) return;
  NetworkOptions options{.setup = allow_all()};
  options.setup.rules.push_back(prefix_rule(wire::Verdict::deny, "9.9.9.9"));
  NetworkUnderTest network(options);
  const base::Fd log = network.management();
  REQUIRE(sys::send_message(log.get(), wire::encode_net(wire::FlowLogRequest{})));
  const auto answered = sys::receive_message(log.get());
  REQUIRE(answered);
  const auto there = endpoint("93.184.216.34", 80);
  const base::Fd listener = listen_tcp(there);
  {
    const base::Fd guest = network.guest_socket(SocketType::tcp4);
    REQUIRE(network.connect_guest(guest.get(), there) == 0);
    const base::Fd server = accept_one(listener);
    send_text(guest.get(), "hello");
    CHECK(receive_text(server.get()) == "hello");
  }
  const auto opened = next_record(log.get());
  CHECK(opened.what == wire::FlowRecord::What::opened);
  CHECK(opened.remote == there);
  const auto ended = next_record(log.get());
  CHECK(ended.what == wire::FlowRecord::What::ended);
  CHECK(ended.bytes_from_guest == 5);
  const base::Fd denied = network.guest_socket(SocketType::tcp4);
  CHECK(network.connect_guest(denied.get(), endpoint("9.9.9.9", 1)) == ECONNREFUSED);
  const auto refused = next_record(log.get());
  CHECK(refused.what == wire::FlowRecord::What::refused);
  CHECK(refused.reason == "deny 9.9.9.9");
  const base::Fd nobody = network.guest_socket(SocketType::tcp4);
  CHECK(network.connect_guest(nobody.get(), endpoint("93.184.216.34", 2)) == ECONNREFUSED);
  CHECK(next_record(log.get()).what == wire::FlowRecord::What::failed);
}

TEST_CASE("management: limits of flows hold, and are counted") {
  if (!enter_test_host()) return;
  NetworkOptions options{.setup = allow_all()};
  options.setup.limits.open_flows = 2;
  NetworkUnderTest network(options);
  const auto there = endpoint("93.184.216.34", 80);
  const base::Fd listener = listen_tcp(there);
  const base::Fd first = network.guest_socket(SocketType::tcp4);
  const base::Fd second = network.guest_socket(SocketType::tcp4);
  const base::Fd third = network.guest_socket(SocketType::tcp4);
  CHECK(network.connect_guest(first.get(), there) == 0);
  CHECK(network.connect_guest(second.get(), there) == 0);
  CHECK(network.connect_guest(third.get(), there) == ECONNREFUSED);
  CHECK(network.status().flows_refused_by_limit == 1);
}
