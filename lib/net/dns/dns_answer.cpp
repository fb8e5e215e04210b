// What a resolver's answer says: parse_answer() of dns_message.hpp.
#include <algorithm>

#include "net/dns/dns_message.hpp"
#include "net/dns/dns_parts.hpp"
#include "net/names/big_endian.hpp"

namespace microvm::net {
namespace {

constexpr size_t kMaxAliases = 16;
constexpr size_t kSoaBytes = 22;  // at least: two names, five numbers
constexpr size_t kSoaMinimumBytes = 4;

// Answer and authority of a message, and what they say.
class AnswerReader {
 public:
  AnswerReader(wire::ByteView message, const DnsHeader& header, const DnsQuestion& question)
      : message_(message), header_(header), question_(question), walk_(message, question.end) {}

  std::optional<DnsAnswer> read();

 private:
  bool read_records();
  bool read_additional();
  void find_addresses();
  [[nodiscard]] bool is_owned_by(const DnsRecord& record, const WireName& name) const;
  [[nodiscard]] std::optional<WireName> alias_of(const WireName& name) const;
  void keep_address(const DnsRecord& record);
  [[nodiscard]] std::chrono::seconds ttl() const;

  wire::ByteView message_;
  const DnsHeader& header_;
  const DnsQuestion& question_;
  DnsWalk walk_;
  std::vector<DnsRecord> answers_;
  std::vector<DnsRecord> authorities_;
  DnsAnswer out_;
};

std::optional<DnsAnswer> AnswerReader::read() {
  out_.error = header_.flags & kErrorBits;
  out_.is_cut = (header_.flags & kTruncated) != 0;
  if (!out_.is_cut && !read_records()) return std::nullopt;
  const auto kept = message_.first(walk_.at());
  out_.message.assign(kept.begin(), kept.end());
  if (out_.is_cut) return std::move(out_);
  if (!read_additional()) return std::nullopt;
  find_addresses();
  out_.ttl = ttl();
  return std::move(out_);
}

bool AnswerReader::read_records() {
  const size_t count = size_t{header_.answers} + header_.authorities;
  if (count > kMaxDnsRecords) return false;
  for (size_t i = 0; i < count; ++i) {
    const auto record = walk_.next();
    if (!record) return false;
    out_.ttl_places.push_back(static_cast<uint16_t>(record->ttl_at));
    (i < header_.answers ? answers_ : authorities_).push_back(*record);
  }
  return true;
}

// OPT brings the upper bits of the error.
bool AnswerReader::read_additional() {
  for (size_t i = 0; i < header_.additionals; ++i) {
    const auto record = walk_.next();
    if (!record) return false;
    if (record->type == dns::kTypeOpt) {
      out_.error = static_cast<uint16_t>(out_.error | (record->ttl >> 24 << 4));
    }
  }
  return true;
}

// The chain from the question's name, in whatever order its records are; a loop of aliases ends as
// a chain that is too long.
void AnswerReader::find_addresses() {
  if (question_.type != dns::kTypeA && question_.type != dns::kTypeAaaa) return;
  WireName name = folded(question_.name);
  for (size_t aliases = 0; aliases < kMaxAliases; ++aliases) {
    auto next = alias_of(name);
    if (!next) break;
    name = std::move(*next);
  }
  for (const DnsRecord& record : answers_) {
    if (record.type == question_.type && is_owned_by(record, name)) keep_address(record);
  }
}

bool AnswerReader::is_owned_by(const DnsRecord& record, const WireName& name) const {
  const auto owner = read_name(message_, record.at);
  return owner && record.klass == dns::kClassIn && folded(owner->name) == name;
}

std::optional<WireName> AnswerReader::alias_of(const WireName& name) const {
  for (const DnsRecord& record : answers_) {
    if (record.type != dns::kTypeCname || !is_owned_by(record, name)) continue;
    const auto target = read_name(message_, record.data_at);
    if (target) return folded(target->name);
  }
  return std::nullopt;
}

void AnswerReader::keep_address(const DnsRecord& record) {
  const size_t bytes = record.type == dns::kTypeA ? 4 : 16;
  if (record.data.size() != bytes || out_.addresses.size() >= kMaxDnsAddresses) return;
  wire::Ipv6Address address{};
  if (bytes == 4) address[10] = address[11] = 0xff;
  std::transform(record.data.begin(), record.data.end(),
                 address.end() - static_cast<ptrdiff_t>(bytes),
                 [](std::byte byte) { return static_cast<uint8_t>(byte); });
  out_.addresses.push_back(address);
}

// RFC 2308 §5: how long there is none says the SOA, in the lesser of two numbers.
std::chrono::seconds AnswerReader::ttl() const {
  if (!answers_.empty()) {
    std::chrono::seconds least = kMaxAnswerTtl;
    for (const DnsRecord& record : answers_) least = std::min(least, sound_ttl(record.ttl));
    return least;
  }
  for (const DnsRecord& record : authorities_) {
    if (record.type != dns::kTypeSoa || record.data.size() < kSoaBytes) continue;
    BigEndianReader minimum(record.data.last(kSoaMinimumBytes));
    return std::min({sound_ttl(record.ttl), sound_ttl(minimum.get<uint32_t>()), kMaxNegativeTtl});
  }
  return std::chrono::seconds(0);
}

}  // namespace

std::optional<DnsAnswer> parse_answer(wire::ByteView message, const DnsQuery& asked) {
  if (message.size() > kMaxDnsMessage) return std::nullopt;
  const auto header = read_dns_header(message);
  if (!header || (header->flags & kIsAnswer) == 0 || (header->flags & kOpcodeBits) != 0 ||
      header->questions != 1) {
    return std::nullopt;
  }
  const auto question = read_question(message);
  if (!question || question->type != asked.type || question->klass != dns::kClassIn ||
      folded(question->name) != folded(asked.name)) {
    return std::nullopt;
  }
  return AnswerReader(message, *header, *question).read();
}

}  // namespace microvm::net
