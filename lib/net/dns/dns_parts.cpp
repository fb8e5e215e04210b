#include "net/dns/dns_parts.hpp"

#include "net/dns/dns_message.hpp"
#include "net/names/big_endian.hpp"

namespace microvm::net {

std::optional<DnsHeader> read_dns_header(wire::ByteView message) {
  BigEndianReader in(message);
  DnsHeader header;
  for (uint16_t* field : {&header.id, &header.flags, &header.questions, &header.answers,
                          &header.authorities, &header.additionals}) {
    *field = in.get<uint16_t>();
  }
  if (!in.ok()) return std::nullopt;
  return header;
}

std::optional<DnsQuestion> read_question(wire::ByteView message) {
  auto name = read_name(message, kDnsHeaderBytes);
  if (!name || name->end != kDnsHeaderBytes + name->name.size()) return std::nullopt;
  BigEndianReader in(message.subspan(name->end));
  DnsQuestion question;
  question.name = std::move(name->name);
  question.type = in.get<uint16_t>();
  question.klass = in.get<uint16_t>();
  question.end = name->end + 4;
  if (!in.ok()) return std::nullopt;
  return question;
}

std::optional<DnsRecord> DnsWalk::next() {
  const auto behind_name = skip_name(message_, at_);
  if (!behind_name || *behind_name > message_.size()) return std::nullopt;
  BigEndianReader in(message_.subspan(*behind_name));
  DnsRecord record;
  record.at = at_;
  record.type = in.get<uint16_t>();
  record.klass = in.get<uint16_t>();
  record.ttl_at = *behind_name + 4;
  record.ttl = in.get<uint32_t>();
  record.data = in.sized<uint16_t>().rest();
  if (!in.ok()) return std::nullopt;
  record.data_at = *behind_name + 10;
  at_ = record.data_at + record.data.size();
  return record;
}

}  // namespace microvm::net
