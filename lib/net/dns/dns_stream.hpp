// Messages of DNS on a TCP connection (RFC 1035 §4.2.2): each behind its length of two bytes.
#pragma once

#include <optional>

#include "wire/bytes.hpp"

namespace microvm::net {

class DnsStream {
 public:
  explicit DnsStream(size_t max_message) : max_message_(max_message) {}

  // False: a message is longer than may be, the connection is to be ended. Take what is whole after
  // each: otherwise what waits here grows.
  bool feed(wire::ByteView bytes);
  // The next whole message.
  std::optional<wire::Bytes> take();

 private:
  [[nodiscard]] std::optional<size_t> next_length() const;

  size_t max_message_;
  wire::Bytes waiting_;
  size_t taken_ = 0;  // of it
};

[[nodiscard]] wire::Bytes with_length(wire::ByteView message);

}  // namespace microvm::net
