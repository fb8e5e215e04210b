#include "host/network/vm_network.hpp"

#include <arpa/inet.h>

#include <array>
#include <charconv>
#include <string_view>

#include "host/base/printable.hpp"
#include "host/base/random.hpp"
#include "host/network/rule_text.hpp"

namespace microvm::host {
namespace {

constexpr size_t kMacBytes = 6;

base::Failure invalid_tap(const std::string& problem) {
  return base::fail(ErrorCode::invalid_argument, "tap network: " + problem);
}

bool is_hex_pair(std::string_view text) {
  unsigned value = 0;
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return text.size() == 2 && error == std::errc() && at == text.data() + 2;
}

// The first byte of a card's own address is even.
bool is_station_mac(std::string_view text) {
  if (text.size() != kMacBytes * 3 - 1) return false;
  for (size_t i = 0; i < text.size(); i += 3) {
    if (!is_hex_pair(text.substr(i, 2))) return false;
    if (i != 0 && text[i - 1] != ':') return false;
  }
  constexpr std::string_view kOdd = "13579bBdDfF";
  return kOdd.find(text[1]) == std::string_view::npos && text != "00:00:00:00:00:00";
}

// "02:" and what is random.
Result<std::string> random_mac() {
  const auto digits = random_hex(kMacBytes - 1);
  if (!digits) return base::fail(digits.error());
  std::string mac = "02";
  for (size_t i = 0; i < digits->size(); i += 2) mac += ":" + digits->substr(i, 2);
  return mac;
}

// AF_INET, AF_INET6, or 0.
int family_of(const std::string& address) {
  std::array<uint8_t, 16> bytes{};
  if (::inet_pton(AF_INET, address.c_str(), bytes.data()) == 1) return AF_INET;
  return ::inet_pton(AF_INET6, address.c_str(), bytes.data()) == 1 ? AF_INET6 : 0;
}

bool is_address_with_prefix(const std::string& text) {
  const size_t slash = text.find('/');
  if (slash == std::string::npos) return false;
  const int family = family_of(text.substr(0, slash));
  unsigned bits = 0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data() + slash + 1, end, bits);
  const bool is_number = error == std::errc() && at == end;
  return family != 0 && is_number && bits >= 1 && bits <= (family == AF_INET ? 32u : 128u);
}

Result<void> check_tap_addresses(const TapOptions& tap) {
  for (const auto* list : {&tap.addresses, &tap.gateways, &tap.dns}) {
    if (list->size() > kMaxTapAddresses) return invalid_tap("more than 8 addresses of a kind");
  }
  for (const std::string& address : tap.addresses) {
    if (is_address_with_prefix(address)) continue;
    return invalid_tap(printable(address, 80) + " is no address with its prefix (192.0.2.7/24)");
  }
  std::array<int, 2> gateways{};  // of IPv4, IPv6
  for (const std::string& gateway : tap.gateways) {
    const int family = family_of(gateway);
    if (family == 0) return invalid_tap(printable(gateway, 80) + " is no address of a gateway");
    if (++gateways[family == AF_INET ? 0 : 1] > 1) return invalid_tap("two gateways of a family");
  }
  for (const std::string& server : tap.dns) {
    if (family_of(server) == 0)
      return invalid_tap(printable(server, 80) + " is no address of a resolver");
  }
  return {};
}

Result<VmNetwork> tap_network(const TapOptions& tap) {
  if ((tap.fd >= 0) == !tap.name.empty()) return invalid_tap("give its fd or its name");
  if (tap.name.size() > kMaxInterfaceName ||
      tap.name.find_first_of("/% \t\n") != std::string::npos) {
    return invalid_tap(printable(tap.name, 80) + " is no name of an interface");
  }
  if (auto ok = check_tap_addresses(tap); !ok) return base::fail(ok.error());
  auto mac = tap.mac.empty() ? random_mac() : Result<std::string>(tap.mac);
  if (!mac) return base::fail(mac.error());
  if (!is_station_mac(*mac)) {
    return invalid_tap(printable(*mac, 80) + " is no MAC of a card (02:00:5e:10:00:01)");
  }
  return VmNetwork{.mode = NetworkMode::tap,
                   .tap = tap.name,
                   .mac = std::move(*mac),
                   .addresses = tap.addresses,
                   .gateways = tap.gateways,
                   .dns = tap.dns};
}

Result<VmNetwork> network_of(const NetworkOptions& options, bool has_device,
                             const std::string& image) {
  const bool is_asked_for = options.mode == NetworkMode::user || options.mode == NetworkMode::tap;
  if (is_asked_for && !has_device) {
    return base::fail(ErrorCode::unsupported,
                      "image " + image +
                          " has no network device, as it is of an older version or "
                          "was built without: build the image again");
  }
  if (options.mode == NetworkMode::tap) return tap_network(options.tap);
  if (options.tap.fd >= 0 || !options.tap.name.empty()) {
    return invalid_tap("a tap is given, and another mode than tap");
  }
  VmNetwork network;
  const bool is_user =
      options.mode == NetworkMode::user || (options.mode == NetworkMode::automatic && has_device);
  if (is_user) network.mode = NetworkMode::user;
  return network;
}

}  // namespace

Result<ChosenNetwork> choose_network(const NetworkOptions& options, bool has_device,
                                     const std::string& image) {
  auto setup = compile_policy(options.policy);
  if (!setup) return base::fail(setup.error());
  auto network = network_of(options, has_device, image);
  if (!network) return base::fail(network.error());
  return ChosenNetwork{std::move(*network), std::move(*setup)};
}

}  // namespace microvm::host
