#include "host/worker/guest_network.hpp"

#include <arpa/inet.h>

#include <array>
#include <charconv>
#include <string_view>

namespace microvm::host {
namespace {

constexpr size_t kIpv4Bytes = 4;
constexpr size_t kIpv6Bytes = 16;

// Empty: it is none.
IpAddressBytes address_bytes(const std::string& text) {
  IpAddressBytes bytes(kIpv6Bytes);
  if (::inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1) return bytes;
  bytes.resize(kIpv4Bytes);
  if (::inet_pton(AF_INET, text.c_str(), bytes.data()) == 1) return bytes;
  return {};
}

template <class Number>
bool parse_whole(std::string_view text, int base, Number& number) {
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, number, base);
  return error == std::errc() && at == end && !text.empty();
}

std::optional<GuestNetwork::Address> address_with_prefix(const std::string& text) {
  const size_t slash = text.find('/');
  if (slash == std::string::npos) return std::nullopt;
  GuestNetwork::Address address{.bytes = address_bytes(text.substr(0, slash))};
  const bool has_prefix =
      parse_whole(std::string_view(text).substr(slash + 1), 10, address.prefix_bits);
  const bool fits = address.prefix_bits <= address.bytes.size() * 8;
  return has_prefix && fits && !address.bytes.empty() ? std::optional(address) : std::nullopt;
}

std::optional<std::array<uint8_t, 6>> mac_bytes(const std::string& text) {
  std::array<uint8_t, 6> mac{};
  if (text.size() != mac.size() * 3 - 1) return std::nullopt;
  for (size_t i = 0; i < mac.size(); ++i) {
    if (!parse_whole(std::string_view(text).substr(i * 3, 2), 16, mac[i])) return std::nullopt;
  }
  return mac;
}

std::vector<IpAddressBytes> all_addresses(const std::vector<std::string>& texts) {
  std::vector<IpAddressBytes> all;
  for (const std::string& text : texts) {
    if (auto bytes = address_bytes(text); !bytes.empty()) all.push_back(std::move(bytes));
  }
  return all;
}

}  // namespace

GuestNetwork guest_network(const VmNetwork& network) {
  using Kind = GuestNetwork::Kind;
  GuestNetwork guest;
  guest.kind = network.mode == NetworkMode::user ? Kind::user : Kind::none;
  if (network.mode != NetworkMode::tap) return guest;
  guest.kind = Kind::tap;
  guest.mac = mac_bytes(network.mac);
  for (const std::string& text : network.addresses) {
    if (auto address = address_with_prefix(text)) guest.addresses.push_back(std::move(*address));
  }
  guest.gateways = all_addresses(network.gateways);
  guest.dns = all_addresses(network.dns);
  return guest;
}

}  // namespace microvm::host
