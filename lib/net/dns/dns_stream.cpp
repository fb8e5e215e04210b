#include "net/dns/dns_stream.hpp"

#include "net/names/big_endian.hpp"

namespace microvm::net {

bool DnsStream::feed(wire::ByteView bytes) {
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(taken_));
  taken_ = 0;
  waiting_.insert(waiting_.end(), bytes.begin(), bytes.end());
  return next_length().value_or(0) <= max_message_;
}

std::optional<wire::Bytes> DnsStream::take() {
  const auto length = next_length();
  if (!length || *length > max_message_) return std::nullopt;
  const auto rest = wire::ByteView(waiting_).subspan(taken_ + sizeof(uint16_t));
  if (rest.size() < *length) return std::nullopt;
  taken_ += sizeof(uint16_t) + *length;
  return wire::Bytes(rest.begin(), rest.begin() + static_cast<ptrdiff_t>(*length));
}

std::optional<size_t> DnsStream::next_length() const {
  BigEndianReader in(wire::ByteView(waiting_).subspan(taken_));
  const auto length = in.get<uint16_t>();
  if (!in.ok()) return std::nullopt;
  return length;
}

wire::Bytes with_length(wire::ByteView message) {
  wire::Bytes out;
  put_big_endian(out, static_cast<uint16_t>(message.size()));
  out.insert(out.end(), message.begin(), message.end());
  return out;
}

}  // namespace microvm::net
