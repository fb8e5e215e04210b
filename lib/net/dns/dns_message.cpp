#include "net/dns/dns_message.hpp"

#include <algorithm>

#include "net/dns/dns_parts.hpp"
#include "net/names/big_endian.hpp"

namespace microvm::net {
namespace {

using What = ParsedQuery::What;

ParsedQuery refused(DnsQuery query, uint16_t error) {
  return {.what = What::refuse, .query = std::move(query), .error = error};
}

DnsQuery query_of(const DnsHeader& header) {
  DnsQuery query;
  query.id = header.id;
  query.wants_recursion = (header.flags & kRecursionDesired) != 0;
  query.checking_disabled = (header.flags & kCheckingDisabled) != 0;
  query.authentic_data = (header.flags & kAuthenticData) != 0;
  return query;
}

// Of the additional section only the one OPT counts. False: malformed.
bool read_edns(DnsWalk& walk, size_t records, DnsQuery& query, uint8_t& version) {
  for (size_t i = 0; i < records; ++i) {
    const auto record = walk.next();
    if (!record) return false;
    if (record->type != dns::kTypeOpt) continue;
    if (query.has_edns) return false;
    query.has_edns = true;
    query.udp_bytes = std::clamp<size_t>(record->klass, 512, kMaxUdpReplyBytes);
    query.dnssec_ok = (record->ttl & kDnssecOk) != 0;
    version = static_cast<uint8_t>(record->ttl >> 16);
  }
  return true;
}

bool is_transfer(uint16_t type) {
  return type == dns::kTypeAxfr || type == dns::kTypeIxfr || type == dns::kTypeOpt;
}

void put_question(wire::Bytes& out, const DnsQuery& query) {
  const auto name = wire::as_bytes(query.name);
  out.insert(out.end(), name.begin(), name.end());
  put_big_endian(out, query.type);
  put_big_endian(out, dns::kClassIn);
}

void put_header(wire::Bytes& out, const DnsHeader& header) {
  for (const uint16_t field : {header.id, header.flags, header.questions, header.answers,
                               header.authorities, header.additionals}) {
    put_big_endian(out, field);
  }
}

void put_opt(wire::Bytes& out, size_t udp_bytes, uint32_t flags) {
  out.push_back(std::byte{0});
  put_big_endian(out, dns::kTypeOpt);
  put_big_endian(out, static_cast<uint16_t>(udp_bytes));
  put_big_endian(out, flags);
  put_big_endian(out, uint16_t{0});
}

// Ours to the guest, whatever the answer's were.
DnsHeader header_for(const DnsQuery& query, uint16_t error) {
  DnsHeader header;
  header.id = query.id;
  header.flags = static_cast<uint16_t>(kIsAnswer | kRecursionAvailable | (error & kErrorBits));
  if (query.wants_recursion) header.flags |= kRecursionDesired;
  if (query.checking_disabled) header.flags |= kCheckingDisabled;
  header.questions = query.name.empty() ? 0 : 1;
  header.additionals = query.has_edns ? 1 : 0;
  return header;
}

wire::Bytes without_records(const DnsQuery& query, uint16_t error, uint16_t more_flags) {
  DnsHeader header = header_for(query, error);
  header.flags |= more_flags;
  wire::Bytes out;
  put_header(out, header);
  if (!query.name.empty()) put_question(out, query);
  const uint32_t high_error = static_cast<uint32_t>(error >> 4) << 24;
  if (query.has_edns) put_opt(out, kMaxUdpReplyBytes, high_error);
  return out;
}

void put_ttl(wire::Bytes& out, size_t at, std::chrono::seconds age) {
  BigEndianReader in(wire::ByteView(out).subspan(at));
  const auto kept = std::min(sound_ttl(in.get<uint32_t>()), kMaxAnswerTtl);
  wire::Bytes field;
  put_big_endian(field, static_cast<uint32_t>(std::max(kept - age, kept.zero()).count()));
  std::copy(field.begin(), field.end(), out.begin() + static_cast<ptrdiff_t>(at));
}

uint16_t type_of(const wire::Ipv6Address& address) {
  return is_mapped_ipv4(address) ? dns::kTypeA : dns::kTypeAaaa;
}

void put_address(wire::Bytes& out, const wire::Ipv6Address& address, std::chrono::seconds ttl) {
  constexpr uint16_t kNameOfQuestion = 0xc000 | kDnsHeaderBytes;
  put_big_endian(out, kNameOfQuestion);
  put_big_endian(out, type_of(address));
  put_big_endian(out, dns::kClassIn);
  put_big_endian(out, static_cast<uint32_t>(ttl.count()));
  const size_t skipped = type_of(address) == dns::kTypeA ? 12 : 0;
  put_big_endian(out, static_cast<uint16_t>(address.size() - skipped));
  for (size_t i = skipped; i < address.size(); ++i) out.push_back(std::byte{address[i]});
}

}  // namespace

uint16_t dns_id(wire::ByteView message) {
  return BigEndianReader(message).get<uint16_t>();
}

ParsedQuery parse_query(wire::ByteView message) {
  const auto header = read_dns_header(message);
  if (!header || (header->flags & kIsAnswer) != 0) return {};
  DnsQuery query = query_of(*header);
  if ((header->flags & kOpcodeBits) != 0) return refused(query, dns::kNotImplemented);
  if (header->questions != 1 || header->answers != 0 || header->authorities != 0) {
    return refused(query, dns::kFormatError);
  }
  const auto question = read_question(message);
  if (!question) return refused(query, dns::kFormatError);
  query.name = question->name;
  query.type = question->type;
  DnsWalk walk(message, question->end);
  uint8_t version = 0;
  if (!read_edns(walk, header->additionals, query, version)) {
    return refused(query, dns::kFormatError);
  }
  if (version != 0) return refused(query, dns::kBadVersion);
  if (question->klass != dns::kClassIn || is_transfer(query.type)) {
    return refused(query, dns::kRefused);
  }
  return {.what = What::query, .query = std::move(query), .error = dns::kNoError};
}

wire::Bytes make_query(const DnsQuery& query, uint16_t id, bool with_edns) {
  DnsHeader header;
  header.id = id;
  header.flags = kRecursionDesired;
  if (query.checking_disabled) header.flags |= kCheckingDisabled;
  if (query.authentic_data) header.flags |= kAuthenticData;
  header.questions = 1;
  header.additionals = with_edns ? 1 : 0;
  wire::Bytes out;
  put_header(out, header);
  put_question(out, query);
  if (with_edns) put_opt(out, kUpstreamUdpBytes, query.dnssec_ok ? kDnssecOk : 0);
  return out;
}

wire::Bytes make_reply(const DnsQuery& query, const DnsAnswer& answer, std::chrono::seconds age,
                       size_t max_bytes) {
  const size_t opt_bytes = query.has_edns ? kOptBytes : 0;
  if (answer.is_cut || answer.message.size() + opt_bytes > max_bytes) {
    return without_records(query, answer.error, kTruncated);
  }
  const auto theirs = read_dns_header(answer.message).value_or(DnsHeader{});
  DnsHeader header = header_for(query, answer.error);
  header.answers = theirs.answers;
  header.authorities = theirs.authorities;
  const bool wants_authentic = query.dnssec_ok || query.authentic_data;
  if (wants_authentic) header.flags |= theirs.flags & kAuthenticData;
  wire::Bytes out;
  put_header(out, header);
  put_question(out, query);  // as long as theirs: the same name in another case at most
  out.insert(out.end(), answer.message.begin() + static_cast<ptrdiff_t>(out.size()),
             answer.message.end());
  for (const uint16_t place : answer.ttl_places) put_ttl(out, place, age);
  if (query.has_edns) put_opt(out, kMaxUdpReplyBytes, query.dnssec_ok ? kDnssecOk : 0);
  return out;
}

wire::Bytes make_error(const DnsQuery& query, uint16_t error) {
  return without_records(query, error, 0);
}

DnsAnswer make_answer(const DnsQuery& query, const std::vector<wire::Ipv6Address>& addresses,
                      std::chrono::seconds ttl) {
  DnsAnswer answer;
  answer.ttl = ttl;
  answer.addresses = addresses;
  DnsHeader header = header_for(query, dns::kNoError);
  header.additionals = 0;
  header.answers = static_cast<uint16_t>(addresses.size());
  put_header(answer.message, header);
  put_question(answer.message, query);
  for (const auto& address : addresses) {
    constexpr size_t kBeforeTtl = 6;
    answer.ttl_places.push_back(static_cast<uint16_t>(answer.message.size() + kBeforeTtl));
    put_address(answer.message, address, ttl);
  }
  return answer;
}

}  // namespace microvm::net
