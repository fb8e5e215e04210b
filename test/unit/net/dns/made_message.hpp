// Messages of DNS, right and wrong ones.
#pragma once

#include <string>
#include <vector>

#include "net/dns/dns_message.hpp"
#include "net/dns/dns_parts.hpp"
#include "net/names/big_endian.hpp"

namespace microvm::test {

// A message that is put together field by field; the counts are those of what was added, until
// they are set.
class MadeMessage {
 public:
  MadeMessage(uint16_t id, uint16_t flags) : id_(id), flags_(flags) {}

  MadeMessage& question(const std::string& name, uint16_t type, uint16_t klass = 1) {
    return raw_question(net::wire_name_of(name), type, klass);
  }
  MadeMessage& raw_question(const std::string& wire_name, uint16_t type, uint16_t klass = 1) {
    ++counts_[0];
    text(wire_name);
    net::put_big_endian(body_, type);
    net::put_big_endian(body_, klass);
    return *this;
  }
  // `owner` is in wire form; kQuestionName points to the question's.
  MadeMessage& record(size_t section, const std::string& owner, uint16_t type, uint32_t ttl,
                      const std::string& data, uint16_t klass = 1) {
    ++counts_[section];
    text(owner);
    net::put_big_endian(body_, type);
    net::put_big_endian(body_, klass);
    net::put_big_endian(body_, ttl);
    net::put_big_endian(body_, static_cast<uint16_t>(data.size()));
    text(data);
    return *this;
  }
  MadeMessage& a(const std::string& owner, const std::string& four_bytes, uint32_t ttl = 300) {
    return record(1, owner, net::dns::kTypeA, ttl, four_bytes);
  }
  MadeMessage& cname(const std::string& owner, const std::string& target, uint32_t ttl = 300) {
    return record(1, owner, net::dns::kTypeCname, ttl, net::wire_name_of(target));
  }
  MadeMessage& soa(uint32_t ttl, uint32_t minimum) {
    std::string data = net::wire_name_of("ns") + net::wire_name_of("root") + std::string(16, 'x');
    for (int shift = 24; shift >= 0; shift -= 8) data += static_cast<char>(minimum >> shift);
    return record(2, net::wire_name_of("zone"), net::dns::kTypeSoa, ttl, data);
  }
  MadeMessage& opt(uint16_t bytes, uint32_t flags = 0) {
    return record(3, std::string(1, '\0'), net::dns::kTypeOpt, flags, "", bytes);
  }
  MadeMessage& count(size_t section, uint16_t count) {
    counts_[section] = count;
    return *this;
  }
  MadeMessage& text(const std::string& bytes) {
    const auto view = wire::as_bytes(bytes);
    body_.insert(body_.end(), view.begin(), view.end());
    return *this;
  }

  [[nodiscard]] wire::Bytes bytes() const {
    wire::Bytes out;
    net::put_big_endian(out, id_);
    net::put_big_endian(out, flags_);
    for (const uint16_t count : counts_) net::put_big_endian(out, count);
    out.insert(out.end(), body_.begin(), body_.end());
    return out;
  }

 private:
  uint16_t id_;
  uint16_t flags_;
  uint16_t counts_[4]{};
  wire::Bytes body_;
};

inline const std::string kQuestionName = "\xc0\x0c";
inline constexpr uint16_t kQueryFlags = 0x0100;
inline constexpr uint16_t kAnswerFlags = 0x8180;

inline std::string pointer(size_t to) {
  return {static_cast<char>(0xc0 | to >> 8), static_cast<char>(to)};
}

inline net::DnsQuery query_for(const std::string& name, uint16_t type = net::dns::kTypeA) {
  net::DnsQuery query;
  query.id = 7;
  query.name = net::wire_name_of(name);
  query.type = type;
  return query;
}

inline MadeMessage answer_for(const std::string& name, uint16_t type = net::dns::kTypeA,
                              uint16_t error = 0) {
  MadeMessage message(7, static_cast<uint16_t>(kAnswerFlags | error));
  message.question(name, type);
  return message;
}

}  // namespace microvm::test
