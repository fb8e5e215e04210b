#include "host/worker/guest_network.hpp"

#include <doctest/doctest.h>

using namespace microvm;
using namespace microvm::host;
using Kind = GuestNetwork::Kind;

TEST_CASE("guest network: of the modes without addresses of their own") {
  CHECK(guest_network({}).kind == Kind::none);
  const auto user = guest_network({.mode = NetworkMode::user});
  CHECK(user.kind == Kind::user);
  CHECK_FALSE(user.mac);
}

TEST_CASE("guest network: a tap's, as bytes") {
  const auto guest = guest_network({.mode = NetworkMode::tap,
                                    .tap = "tap0",
                                    .mac = "02:00:5e:10:0A:ff",
                                    .addresses = {"192.0.2.7/24", "2001:db8::7/64"},
                                    .gateways = {"192.0.2.1"},
                                    .dns = {"2001:db8::53"}});
  CHECK(guest.kind == Kind::tap);
  REQUIRE(guest.mac);
  CHECK(*guest.mac == std::array<uint8_t, 6>{0x02, 0x00, 0x5e, 0x10, 0x0a, 0xff});
  REQUIRE(guest.addresses.size() == 2);
  CHECK(guest.addresses[0].bytes == IpAddressBytes{192, 0, 2, 7});
  CHECK(guest.addresses[0].prefix_bits == 24);
  CHECK(guest.addresses[1].bytes.size() == 16);
  CHECK(guest.addresses[1].prefix_bits == 64);
  CHECK(guest.gateways == std::vector<IpAddressBytes>{{192, 0, 2, 1}});
  REQUIRE(guest.dns.size() == 1);
  CHECK(guest.dns[0][15] == 0x53);
}

TEST_CASE("guest network: what a damaged record says is left out") {
  const auto guest = guest_network({.mode = NetworkMode::tap,
                                    .mac = "02:00:5e:10:0a:fg",
                                    .addresses = {"192.0.2.7", "192.0.2.7/33", "x/8", "1.2.3.4/"},
                                    .gateways = {"", "1.2.3"},
                                    .dns = {"::g"}});
  CHECK_FALSE(guest.mac);
  CHECK(guest.addresses.empty());
  CHECK(guest.gateways.empty());
  CHECK(guest.dns.empty());
}
