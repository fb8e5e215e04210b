// TCP of a guest through microvm-net: what is answered, what is refused, how flows end.
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <string>
#include <thread>

#include "net/flow/address.hpp"
#include "net/network_under_test.hpp"

using namespace microvm;
using namespace microvm::test;
using net::space::SocketType;

namespace {

base::Fd accept_one(const base::Fd& listener) {
  pollfd ready{listener.get(), POLLIN, 0};
  REQUIRE(::poll(&ready, 1, 5000) == 1);
  base::Fd accepted(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  REQUIRE(accepted);
  return accepted;
}

std::string receive_text(int socket) {
  std::string text(4096, 0);
  const ssize_t got = ::recv(socket, text.data(), text.size(), 0);
  text.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return text;
}

void send_text(int socket, const std::string& text) {
  REQUIRE(::send(socket, text.data(), text.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(text.size()));
}

}  // namespace

TEST_CASE("TCP: a flow reaches a listener outside, and ends on both sides by halves") {
  if (!enter_test_host()) return;
  for (const char* address : {"93.184.216.34", "2606:2800:220:1::1"}) {
    CAPTURE(address);
    NetworkUnderTest network;
    const auto there = endpoint(address, 80);
    const base::Fd listener = listen_tcp(there);
    const bool is_ipv6 = std::string(address).find(':') != std::string::npos;
    const base::Fd guest = network.guest_socket(is_ipv6 ? SocketType::tcp6 : SocketType::tcp4);
    REQUIRE(network.connect_guest(guest.get(), there) == 0);
    const base::Fd server = accept_one(listener);
    send_text(guest.get(), "hello");
    CHECK(receive_text(server.get()) == "hello");
    ::shutdown(guest.get(), SHUT_WR);
    CHECK(receive_text(server.get()).empty());
    send_text(server.get(), "still there");
    CHECK(receive_text(guest.get()) == "still there");
    ::shutdown(server.get(), SHUT_WR);
    CHECK(receive_text(guest.get()).empty());
  }
}

TEST_CASE("TCP: what is refused outside is refused for the guest, at once") {
  if (!enter_test_host()) return;
  NetworkUnderTest network;
  const base::Fd guest = network.guest_socket(SocketType::tcp4);
  CHECK(network.connect_guest(guest.get(), endpoint("93.184.216.34", 81)) == ECONNREFUSED);
  const base::Fd guest6 = network.guest_socket(SocketType::tcp6);
  CHECK(network.connect_guest(guest6.get(), endpoint("2606::1", 81)) == ECONNREFUSED);
}

TEST_CASE("TCP: what a rule denies never leaves") {
  if (!enter_test_host()) return;
  NetworkOptions options{allow_all(), {}};
  options.setup.rules.push_back(prefix_rule(wire::Verdict::deny, "93.184.216.0/24"));
  NetworkUnderTest network(options);
  const auto there = endpoint("93.184.216.34", 80);
  const base::Fd listener = listen_tcp(there);
  const base::Fd guest = network.guest_socket(SocketType::tcp4);
  CHECK(network.connect_guest(guest.get(), there) == ECONNREFUSED);
  pollfd ready{listener.get(), POLLIN, 0};
  CHECK(::poll(&ready, 1, 100) == 0);
}
