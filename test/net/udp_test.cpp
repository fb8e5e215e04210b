// UDP and ICMP of a guest through microvm-net.
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

#include "net/flow/address.hpp"
#include "net/network_under_test.hpp"
#include "net/sockets.hpp"

using namespace microvm;
using namespace microvm::test;
using net::space::SocketType;

TEST_CASE("UDP: a pair is answered from the address that was asked, whatever the size") {
  if (!enter_test_host()) return;
  for (const char* address : {"8.8.8.8", "2001:4860:4860::8888"}) {
    CAPTURE(address);
    NetworkUnderTest network;
    const auto there = endpoint(address, 5353);
    const base::Fd server = bind_udp(there);
    const bool is_ipv6 = std::string(address).find(':') != std::string::npos;
    const base::Fd guest = network.guest_socket(is_ipv6 ? SocketType::udp6 : SocketType::udp4);
    REQUIRE(network.connect_guest(guest.get(), there) == 0);
    for (const size_t size : {size_t{1}, size_t{0}, size_t{1400}, size_t{9000}, size_t{60'000}}) {
      CAPTURE(size);
      REQUIRE(::send(guest.get(), std::string(size, 'q').data(), size, 0) ==
              static_cast<ssize_t>(size));
      REQUIRE(becomes_readable(server.get()));
      std::string query(65536, 0);
      net::SocketAddress peer;
      const ssize_t got =
          ::recvfrom(server.get(), query.data(), query.size(), 0, peer.raw(), &peer.size);
      CHECK(got == static_cast<ssize_t>(size));
      REQUIRE(::sendto(server.get(), query.data(), size, 0, peer.raw(), peer.size) == got);
      REQUIRE(becomes_readable(guest.get()));
      CHECK(::recv(guest.get(), query.data(), query.size(), 0) == got);
    }
    CHECK(network.pairs_admitted(1) == 1);
  }
}

TEST_CASE("UDP: two ports of the guest to one destination are two pairs") {
  if (!enter_test_host()) return;
  NetworkUnderTest network;
  const auto there = endpoint("8.8.8.8", 5353);
  const base::Fd server = bind_udp(there);
  const base::Fd first = network.guest_socket(SocketType::udp4);
  const base::Fd second = network.guest_socket(SocketType::udp4);
  for (const base::Fd* guest : {&first, &second}) {
    REQUIRE(network.connect_guest(guest->get(), there) == 0);
    send_text(guest->get(), "q");
  }
  for (int i = 0; i < 2; ++i) {
    REQUIRE(becomes_readable(server.get()));
    char query = 0;
    net::SocketAddress peer;
    REQUIRE(::recvfrom(server.get(), &query, 1, 0, peer.raw(), &peer.size) == 1);
    REQUIRE(::sendto(server.get(), "a", 1, 0, peer.raw(), peer.size) == 1);
  }
  CHECK(receive_text(first.get()) == "a");
  CHECK(receive_text(second.get()) == "a");
  CHECK(network.pairs_admitted(2) == 2);
}

TEST_CASE("UDP: a port that nobody has outside, and what a rule denies, is told to the guest") {
  if (!enter_test_host()) return;
  NetworkOptions options{.setup = allow_all()};
  options.setup.rules.push_back(prefix_rule(wire::Verdict::deny, "9.9.9.9"));
  options.setup.rules.push_back(prefix_rule(wire::Verdict::deny, "2620:fe::/32"));
  NetworkUnderTest network(options);
  struct Case {
    const char* address;
    SocketType type;
    int error;
  };
  for (const Case& each : {Case{"8.8.8.8", SocketType::udp4, ECONNREFUSED},
                           Case{"2001:4860::1", SocketType::udp6, ECONNREFUSED},
                           Case{"9.9.9.9", SocketType::udp4, EHOSTUNREACH},
                           Case{"2620:fe::9", SocketType::udp6, EACCES}}) {
    CAPTURE(each.address);
    const base::Fd guest = network.guest_socket(each.type);
    REQUIRE(network.connect_guest(guest.get(), endpoint(each.address, 4000)) == 0);
    send_text(guest.get(), "q");
    errno = 0;
    CHECK(receive_text(guest.get()).empty());
    CHECK(errno == each.error);
  }
}

TEST_CASE("ICMP: an echo is answered by who was asked, and by nobody else") {
  if (!enter_test_host()) return;
  NetworkOptions options{.setup = allow_all()};
  options.setup.rules.push_back(prefix_rule(wire::Verdict::deny, "9.9.9.9"));
  NetworkUnderTest network(options);
  for (const char* address : {"8.8.8.8", "2001:4860::1", "9.9.9.9"}) {
    CAPTURE(address);
    const auto there = endpoint(address, 0);
    const bool is_ipv6 = std::string(address).find(':') != std::string::npos;
    const base::Fd guest = network.guest_ping_socket(is_ipv6);
    REQUIRE(network.connect_guest(guest.get(), there) == 0);
    std::array<uint8_t, 12> request{static_cast<uint8_t>(is_ipv6 ? 128 : 8)};
    request[7] = 42;
    request[11] = 7;
    REQUIRE(::send(guest.get(), request.data(), request.size(), 0) == 12);
    std::array<uint8_t, 64> reply{};
    REQUIRE(becomes_readable(guest.get()));
    const ssize_t got = ::recv(guest.get(), reply.data(), reply.size(), 0);
    if (std::string(address) == "9.9.9.9") {
      CHECK(got == -1);
      CHECK(errno == EHOSTUNREACH);
      continue;
    }
    REQUIRE(got == 12);
    CHECK(reply[0] == (is_ipv6 ? 129 : 0));
    CHECK(reply[7] == 42);
    CHECK(reply[11] == 7);
  }
}
