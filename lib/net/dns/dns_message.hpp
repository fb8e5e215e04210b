// Messages of DNS (RFC 1035, EDNS: RFC 6891): what a guest asks, what a resolver answers, and what
// is made of the two. Both sides are hostile.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "net/dns/dns_name.hpp"
#include "wire/bytes.hpp"
#include "wire/net_addresses.hpp"

namespace microvm::net {

namespace dns {
inline constexpr uint16_t kTypeA = 1;
inline constexpr uint16_t kTypeCname = 5;
inline constexpr uint16_t kTypeSoa = 6;
inline constexpr uint16_t kTypeAaaa = 28;
inline constexpr uint16_t kTypeOpt = 41;
inline constexpr uint16_t kTypeSvcb = 64;
inline constexpr uint16_t kTypeHttps = 65;
inline constexpr uint16_t kTypeIxfr = 251;
inline constexpr uint16_t kTypeAxfr = 252;
inline constexpr uint16_t kClassIn = 1;

inline constexpr uint16_t kNoError = 0;
inline constexpr uint16_t kFormatError = 1;
inline constexpr uint16_t kServerFailure = 2;
inline constexpr uint16_t kNoSuchName = 3;
inline constexpr uint16_t kNotImplemented = 4;
inline constexpr uint16_t kRefused = 5;
inline constexpr uint16_t kBadVersion = 16;
}  // namespace dns

inline constexpr size_t kDnsHeaderBytes = 12;
inline constexpr size_t kMaxDnsMessage = 65'535;
inline constexpr size_t kMaxDnsRecords = 1024;     // of answer and authority together
inline constexpr size_t kMaxDnsAddresses = 64;     // of one answer, that count as learned
inline constexpr size_t kMaxUdpReplyBytes = 4096;  // whatever the guest says it takes
inline constexpr std::chrono::seconds kMaxAnswerTtl{3600};
inline constexpr std::chrono::seconds kMaxNegativeTtl{300};

struct DnsQuery {
  uint16_t id = 0;
  bool wants_recursion = true;
  bool checking_disabled = false;
  bool authentic_data = false;
  WireName name;
  uint16_t type = 0;
  bool has_edns = false;
  bool dnssec_ok = false;
  size_t udp_bytes = 512;  // that the asker takes
};

struct ParsedQuery {
  enum class What : uint8_t { query, refuse, ignore };
  What what = What::ignore;
  DnsQuery query;                  // refuse: as far as it could be read
  uint16_t error = dns::kNoError;  // refuse: why
};

// What a client sent. Ignored is what can not be answered without answering an answer.
[[nodiscard]] ParsedQuery parse_query(wire::ByteView message);

// What a resolver answered, as it is kept: header, question, answer and authority. The additional
// section is left out; who wants it asks for it.
struct DnsAnswer {
  wire::Bytes message;
  std::vector<uint16_t> ttl_places;
  uint16_t error = dns::kNoError;  // with the bits that EDNS adds
  bool is_cut = false;             // TC: nothing but the question is in it
  std::chrono::seconds ttl{0};     // of the answer, or of there being none; 0: not to be kept
  // Of the question's name, at the end of its chain of aliases.
  std::vector<wire::Ipv6Address> addresses;
};

// Nothing if it is no answer to this question, or is malformed. The id is not looked at.
[[nodiscard]] std::optional<DnsAnswer> parse_answer(wire::ByteView message, const DnsQuery& asked);
[[nodiscard]] uint16_t dns_id(wire::ByteView message);

// What is asked of a resolver in the guest's place. Nothing else of the guest's message is in it.
[[nodiscard]] wire::Bytes make_query(const DnsQuery& query, uint16_t id, bool with_edns);
// The answer for who asked, `age` after it came. Longer than `max_bytes`: cut.
[[nodiscard]] wire::Bytes make_reply(const DnsQuery& query, const DnsAnswer& answer,
                                     std::chrono::seconds age, size_t max_bytes);
[[nodiscard]] wire::Bytes make_error(const DnsQuery& query, uint16_t error);
// An answer that has these addresses as the question's own; the types fit the question's.
[[nodiscard]] DnsAnswer make_answer(const DnsQuery& query,
                                    const std::vector<wire::Ipv6Address>& addresses,
                                    std::chrono::seconds ttl);

}  // namespace microvm::net
