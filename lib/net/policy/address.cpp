#include "net/policy/address.hpp"

#include <algorithm>
#include <span>

namespace microvm::net {
namespace {

struct Range {
  Address prefix;
  uint8_t bits;
};

constexpr uint8_t kIpv4Bits = 96;

constexpr Range v4(uint8_t a, uint8_t b, uint8_t c, uint8_t bits) {
  return {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, 0},
          static_cast<uint8_t>(kIpv4Bits + bits)};
}

// The first two groups of four digits; what follows is zero.
constexpr Range v6(uint16_t first, uint16_t second, uint8_t bits) {
  return {{static_cast<uint8_t>(first >> 8), static_cast<uint8_t>(first),
           static_cast<uint8_t>(second >> 8), static_cast<uint8_t>(second)},
          bits};
}

constexpr Range kAllIpv4 = v4(0, 0, 0, 0);
constexpr Address kUnspecified{};
constexpr Range kNat64 = v6(0x64, 0xff9b, 96);                                   // RFC 6052
constexpr Range kLocalNat64 = {{0, 0x64, 0xff, 0x9b, 0, 1}, 48};                 // RFC 8215
constexpr Range kTranslated = {{0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0}, 96};  // RFC 2765
constexpr Range kCompatible = {{}, 96};                                          // RFC 4291
constexpr Range k6to4 = v6(0x2002, 0, 16);                                       // RFC 3056
constexpr Range kTeredo = v6(0x2001, 0, 32);                                     // RFC 4380

constexpr Range kLoopback[] = {v4(127, 0, 0, 8),
                               v4(0, 0, 0, 32),
                               {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 128},
                               {kUnspecified, 128}};
constexpr Range kLinkLocal[] = {v4(169, 254, 0, 16), v6(0xfe80, 0, 10)};
constexpr Range kPrivate[] = {v4(10, 0, 0, 8), v4(172, 16, 0, 12), v4(192, 168, 0, 16),
                              v6(0xfc00, 0, 7), v6(0xfec0, 0, 10)};

// Of IPv4, what is not of the internet besides these (IANA's special-purpose registry).
constexpr Range kNotInternetIpv4[] = {
    v4(0, 0, 0, 8),       // this network
    v4(100, 64, 0, 10),   // CGNAT
    v4(192, 0, 0, 24),    // IETF protocol assignments
    v4(192, 88, 99, 24),  // 6to4 relays
    v4(198, 18, 0, 15),   // benchmarks
    v4(224, 0, 0, 4),     // multicast
    v4(240, 0, 0, 4),     // reserved, and broadcast
};
// Of IPv6 the other way round: only this is of the internet, and not these parts of it.
constexpr Range kGlobalIpv6 = v6(0x2000, 0, 3);
constexpr Range kNotInternetIpv6[] = {
    v6(0x2001, 0, 23),  // IETF protocol assignments: Teredo, ORCHID, benchmarks
};

bool is_in(const Address& address, const Range& range) {
  return is_within(address, range.prefix, range.bits);
}

bool is_in_one(const Address& address, std::span<const Range> ranges) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const Range& range) { return is_in(address, range); });
}

// That stands in the bytes from `at` on.
Address ipv4_at(const Address& address, size_t at) {
  return from_ipv4({address[at], address[at + 1], address[at + 2], address[at + 3]});
}

// RFC 6052 §2.2: with a prefix of 48 bits, the byte 8 is left out.
Address ipv4_behind_48(const Address& address) {
  return from_ipv4({address[6], address[7], address[9], address[10]});
}

// RFC 5214 §6.1: an interface identifier that ends in the address of the tunnel's other side.
bool is_isatap(const Address& address) {
  return (address[8] & 0xfc) == 0 && address[9] == 0 && address[10] == 0x5e && address[11] == 0xfe;
}

Address teredo_client(const Address& address) {
  Address inside = ipv4_at(address, 12);
  for (size_t i = 12; i < 16; ++i) inside[i] ^= 0xff;
  return inside;
}

}  // namespace

Address from_ipv4(const wire::Ipv4Address& address) {
  Address out = kAllIpv4.prefix;
  std::copy(address.begin(), address.end(), out.begin() + 12);
  return out;
}

bool is_ipv4(const Address& address) {
  return std::equal(address.begin(), address.begin() + 12, kAllIpv4.prefix.begin());
}

bool is_within(const Address& address, const Address& prefix, uint8_t prefix_bits) {
  const bool is_of_ipv4 = prefix_bits >= kIpv4Bits && is_ipv4(prefix);
  if (is_ipv4(address) != is_of_ipv4) return false;
  const size_t bytes = prefix_bits / 8;
  if (!std::equal(prefix.begin(), prefix.begin() + static_cast<ptrdiff_t>(bytes),
                  address.begin())) {
    return false;
  }
  const int rest = prefix_bits % 8;
  return rest == 0 || ((address[bytes] ^ prefix[bytes]) >> (8 - rest)) == 0;
}

std::vector<Address> forms_of(const Address& address) {
  std::vector<Address> forms{address};
  if (is_ipv4(address)) return forms;
  if (is_in(address, kNat64) || is_in(address, kLocalNat64) || is_in(address, kTranslated) ||
      is_in(address, kCompatible) || is_isatap(address)) {
    forms.push_back(ipv4_at(address, 12));
  }
  if (is_in(address, kLocalNat64)) forms.push_back(ipv4_behind_48(address));
  if (is_in(address, k6to4)) forms.push_back(ipv4_at(address, 2));
  if (is_in(address, kTeredo)) {
    forms.push_back(ipv4_at(address, 4));  // the server's
    forms.push_back(teredo_client(address));
  }
  return forms;
}

bool is_loopback(const Address& address) {
  return is_in_one(address, kLoopback);
}

bool is_link_local(const Address& address) {
  return is_in_one(address, kLinkLocal);
}

bool is_private(const Address& address) {
  return is_in_one(address, kPrivate);
}

bool HostAddresses::leaves_to_internet(const Address& address) const {
  const bool has_route = is_ipv4(address) || is_in(address, kGlobalIpv6) || is_in(address, kNat64);
  if (!has_route) return false;
  const auto forms = forms_of(address);
  return std::none_of(forms.begin(), forms.end(), [&](const Address& form) {
    return contains(form) || is_loopback(form) || is_link_local(form) || is_private(form) ||
           is_in_one(form, kNotInternetIpv4) || is_in_one(form, kNotInternetIpv6);
  });
}

}  // namespace microvm::net
