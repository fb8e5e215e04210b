#include "host/network/vm_network.hpp"

#include <doctest/doctest.h>

#include <fstream>

using namespace microvm;
using namespace microvm::host;

namespace {

std::string tap_error(const TapOptions& tap) {
  const auto chosen =
      choose_network({.mode = NetworkMode::tap, .policy = {}, .tap = tap}, true, "app:1");
  if (chosen) return {};
  CHECK(chosen.error().code == ErrorCode::invalid_argument);
  return chosen.error().message;
}

}  // namespace

TEST_CASE("vm network: what there is by default, and what an image without a device can have") {
  CHECK(choose_network({}, true, "app:1")->network.mode == NetworkMode::user);
  CHECK(choose_network({}, false, "app:1")->network.mode == NetworkMode::none);
  CHECK(choose_network({.mode = NetworkMode::none}, true, "app:1")->network.mode ==
        NetworkMode::none);
  for (const auto mode : {NetworkMode::user, NetworkMode::tap}) {
    const auto chosen = choose_network({.mode = mode}, false, "app:1");
    REQUIRE_FALSE(chosen);
    CHECK(chosen.error().code == ErrorCode::unsupported);
    CHECK(chosen.error().message.find("app:1") != std::string::npos);
    CHECK(chosen.error().message.find("build the image again") != std::string::npos);
  }
}

TEST_CASE("vm network: a wrong rule is one whatever the mode") {
  for (const auto mode : {NetworkMode::automatic, NetworkMode::none, NetworkMode::user}) {
    const auto chosen =
        choose_network({.mode = mode, .policy = {.rules = {"allow nothing nowhere"}}}, true, "a:1");
    REQUIRE_FALSE(chosen);
    CHECK(chosen.error().message.starts_with("network rule 1 "));
  }
}

TEST_CASE("vm network: a tap's addresses, and its MAC, which differs where none is given") {
  const TapOptions tap{.name = "tap0",
                       .addresses = {"192.0.2.7/24", "2001:db8::7/64"},
                       .gateways = {"192.0.2.1", "2001:db8::1"},
                       .dns = {"192.0.2.1"}};
  const NetworkOptions options{.mode = NetworkMode::tap, .policy = {}, .tap = tap};
  const auto first = choose_network(options, true, "app:1");
  const auto second = choose_network(options, true, "app:1");
  REQUIRE(first);
  REQUIRE(second);
  CHECK(first->network.tap == "tap0");
  CHECK(first->network.addresses == tap.addresses);
  CHECK(first->network.mac.size() == 17);
  CHECK(first->network.mac.starts_with("02:"));
  CHECK(first->network.mac != second->network.mac);
}

TEST_CASE("vm network: what is wrong with a tap") {
  const struct {
    TapOptions tap;
    const char* message;
  } rows[] = {
      {{}, "tap network: give its fd or its name"},
      {{.fd = 5, .name = "tap0"}, "tap network: give its fd or its name"},
      {{.name = "a-name-of-16-byte"}, "tap network: a-name-of-16-byte is no name of an interface"},
      {{.name = "a/b"}, "tap network: a/b is no name of an interface"},
      {{.name = "tap%d"}, "tap network: tap%d is no name of an interface"},
      {{.name = "t", .addresses = {"192.0.2.7"}},
       "tap network: 192.0.2.7 is no address with its prefix (192.0.2.7/24)"},
      {{.name = "t", .addresses = {"192.0.2.7/33"}},
       "tap network: 192.0.2.7/33 is no address with its prefix (192.0.2.7/24)"},
      {{.name = "t", .gateways = {"x"}}, "tap network: x is no address of a gateway"},
      {{.name = "t", .gateways = {"192.0.2.1", "192.0.2.2"}},
       "tap network: two gateways of a family"},
      {{.name = "t", .dns = {"::g"}}, "tap network: ::g is no address of a resolver"},
      {{.name = "t", .dns = std::vector<std::string>(9, "::1")},
       "tap network: more than 8 addresses of a kind"},
      {{.name = "t", .mac = "01:00:5e:00:00:01"},
       "tap network: 01:00:5e:00:00:01 is no MAC of a card (02:00:5e:10:00:01)"},
      {{.name = "t", .mac = "02:00:5e:00:00"},
       "tap network: 02:00:5e:00:00 is no MAC of a card (02:00:5e:10:00:01)"},
      {{.name = "t", .mac = "02-00-5e-00-00-01"},
       "tap network: 02-00-5e-00-00-01 is no MAC of a card (02:00:5e:10:00:01)"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.message);
    CHECK(tap_error(row.tap) == row.message);
  }
  const auto with_another_mode = choose_network(
      {.mode = NetworkMode::user, .policy = {}, .tap = {.name = "tap0"}}, true, "app:1");
  REQUIRE_FALSE(with_another_mode);
  CHECK(with_another_mode.error().message ==
        "tap network: a tap is given, and another mode than tap");
}

TEST_CASE("vm network: an fd that is no tap") {
  const auto adopted = adopt_tap(0);
  REQUIRE_FALSE(adopted);
  CHECK(adopted.error().message == "tap network: the fd is not of a tap");
}
