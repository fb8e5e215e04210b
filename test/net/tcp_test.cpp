// TCP of a guest through microvm-net: what is answered, what is refused, how flows end.
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string>
#include <thread>

#include "net/network_under_test.hpp"
#include "net/sockets.hpp"

using namespace microvm;
using namespace microvm::test;
using net::space::SocketType;

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
  NetworkOptions options{.setup = allow_all()};
  options.setup.rules.push_back(prefix_rule(wire::Verdict::deny, "93.184.216.0/24"));
  NetworkUnderTest network(options);
  const auto there = endpoint("93.184.216.34", 80);
  const base::Fd listener = listen_tcp(there);
  const base::Fd guest = network.guest_socket(SocketType::tcp4);
  CHECK(network.connect_guest(guest.get(), there) == ECONNREFUSED);
  CHECK_FALSE(becomes_readable(listener.get(), 100));
}

TEST_CASE("TCP: much goes both ways at once, and none of it is lost or changed") {
  if (!enter_test_host()) return;
  NetworkUnderTest network;
  const auto there = endpoint("93.184.216.34", 80);
  const base::Fd listener = listen_tcp(there);
  const base::Fd guest = network.guest_socket(SocketType::tcp4);
  REQUIRE(network.connect_guest(guest.get(), there) == 0);
  const base::Fd server = accept_one(listener);
  constexpr size_t kBytes = size_t{32} << 20;
  const auto value_at = [](size_t at) { return static_cast<char>(at * 2654435761u >> 16); };
  const auto send_all = [&](int socket) {
    std::string block(100'000, 0);
    for (size_t at = 0; at < kBytes;) {
      const size_t size = std::min(block.size(), kBytes - at);
      for (size_t i = 0; i < size; ++i) block[i] = value_at(at + i);
      const ssize_t put = ::send(socket, block.data(), size, MSG_NOSIGNAL);
      if (put <= 0) return;
      at += static_cast<size_t>(put);
    }
    ::shutdown(socket, SHUT_WR);
  };
  const auto first_wrong = [&](int socket) {
    size_t at = 0;
    while (true) {
      const std::string text = receive_text(socket);
      if (text.empty()) return at;
      for (const char c : text) {
        if (c != value_at(at)) return at;
        ++at;
      }
    }
  };
  std::thread up([&] { send_all(guest.get()); });
  std::thread down([&] { send_all(server.get()); });
  size_t arrived_at_server = 0;
  std::thread server_reads([&] { arrived_at_server = first_wrong(server.get()); });
  CHECK(first_wrong(guest.get()) == kBytes);
  for (std::thread* thread : {&up, &down, &server_reads}) thread->join();
  CHECK(arrived_at_server == kBytes);
}

TEST_CASE("TCP: a reset of either side is one for the other") {
  if (!enter_test_host()) return;
  NetworkUnderTest network;
  const auto there = endpoint("93.184.216.34", 80);
  const base::Fd listener = listen_tcp(there);
  for (const bool guest_resets : {false, true}) {
    CAPTURE(guest_resets);
    base::Fd guest = network.guest_socket(SocketType::tcp4);
    REQUIRE(network.connect_guest(guest.get(), there) == 0);
    base::Fd server = accept_one(listener);
    send_text(guest.get(), "hello");
    CHECK(receive_text(server.get()) == "hello");
    base::Fd& first = guest_resets ? guest : server;
    const int other = guest_resets ? server.get() : guest.get();
    const linger now{1, 0};
    ::setsockopt(first.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    first.reset();
    errno = 0;
    CHECK(receive_text(other).empty());
    CHECK(errno == ECONNRESET);
  }
}

TEST_CASE("TCP: the side that does not read holds the other one up") {
  if (!enter_test_host()) return;
  NetworkUnderTest network;
  const auto there = endpoint("93.184.216.34", 80);
  const base::Fd listener = listen_tcp(there);
  const base::Fd guest = network.guest_socket(SocketType::tcp4);
  REQUIRE(network.connect_guest(guest.get(), there) == 0);
  const base::Fd server = accept_one(listener);
  const std::string block(1 << 20, 'x');
  size_t sent = 0;
  const timeval patience{0, 300'000};
  ::setsockopt(guest.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  constexpr size_t kFarTooMuch = size_t{256} << 20;
  while (sent < kFarTooMuch) {
    const ssize_t put = ::send(guest.get(), block.data(), block.size(), MSG_NOSIGNAL);
    if (put <= 0) break;
    sent += static_cast<size_t>(put);
  }
  CHECK(sent < kFarTooMuch);
  ::shutdown(guest.get(), SHUT_WR);
  size_t arrived = 0;
  for (std::string text = receive_text(server.get()); !text.empty();
       text = receive_text(server.get())) {
    arrived += text.size();
  }
  CHECK(arrived == sent);
}
