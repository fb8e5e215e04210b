// The parts of a DNS message: header, question, records one after another.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>

#include "net/dns/dns_name.hpp"
#include "wire/net_addresses.hpp"

namespace microvm::net {

inline constexpr uint16_t kIsAnswer = 0x8000;
inline constexpr uint16_t kOpcodeBits = 0x7800;
inline constexpr uint16_t kTruncated = 0x0200;
inline constexpr uint16_t kRecursionDesired = 0x0100;
inline constexpr uint16_t kRecursionAvailable = 0x0080;
inline constexpr uint16_t kAuthenticData = 0x0020;
inline constexpr uint16_t kCheckingDisabled = 0x0010;
inline constexpr uint16_t kErrorBits = 0x000f;
inline constexpr uint32_t kDnssecOk = 0x8000;      // in an OPT's TTL
inline constexpr size_t kUpstreamUdpBytes = 1232;  // so that no datagram is cut on its way
inline constexpr size_t kOptBytes = 11;

struct DnsHeader {
  uint16_t id = 0;
  uint16_t flags = 0;
  uint16_t questions = 0;
  uint16_t answers = 0;
  uint16_t authorities = 0;
  uint16_t additionals = 0;
};

struct DnsQuestion {
  WireName name;
  uint16_t type = 0;
  uint16_t klass = 0;
  size_t end = 0;
};

struct DnsRecord {
  size_t at = 0;  // of its name
  uint16_t type = 0;
  uint16_t klass = 0;
  uint32_t ttl = 0;
  size_t ttl_at = 0;
  size_t data_at = 0;
  wire::ByteView data;
};

[[nodiscard]] std::optional<DnsHeader> read_dns_header(wire::ByteView message);
// The first one. Its name is not compressed: there is nothing before it.
[[nodiscard]] std::optional<DnsQuestion> read_question(wire::ByteView message);

// Record for record, without looking into any. Every step needs eleven bytes, whatever the counts
// in the header say.
class DnsWalk {
 public:
  DnsWalk(wire::ByteView message, size_t at) : message_(message), at_(at) {}
  // Nothing: malformed.
  std::optional<DnsRecord> next();
  [[nodiscard]] size_t at() const { return at_; }

 private:
  wire::ByteView message_;
  size_t at_;
};

// RFC 2181 §8: one with its highest bit set is none.
inline std::chrono::seconds sound_ttl(uint32_t ttl) {
  return std::chrono::seconds(ttl > 0x7fff'ffff ? 0 : ttl);
}

inline bool is_mapped_ipv4(const wire::Ipv6Address& address) {
  constexpr wire::Ipv6Address kPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return std::equal(address.begin(), address.begin() + 12, kPrefix.begin());
}

}  // namespace microvm::net
