// Fields in the order of bytes that networks have, as wire/bytes.hpp reads ours: after the first
// short read every later one fails too.
#pragma once

#include <concepts>
#include <cstdint>

#include "wire/bytes.hpp"

namespace microvm::net {

class BigEndianReader {
 public:
  explicit BigEndianReader(wire::ByteView bytes) : rest_(bytes) {}

  template <std::unsigned_integral T>
  T get() {
    uint64_t value = 0;
    for (const std::byte byte : take(sizeof(T))) value = (value << 8) | static_cast<uint8_t>(byte);
    return static_cast<T>(value);
  }
  // An empty view when fewer than `size` bytes are left.
  wire::ByteView take(size_t size) {
    if (!ok_ || size > rest_.size()) {
      ok_ = false;
      return {};
    }
    const wire::ByteView field = rest_.first(size);
    rest_ = rest_.subspan(size);
    return field;
  }
  void skip(size_t size) { (void)take(size); }
  // What follows its own length. Of one that is cut, nothing; and this reader has failed.
  template <std::unsigned_integral Length>
  BigEndianReader sized() {
    const auto size = get<Length>();
    return BigEndianReader(take(size));
  }

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] size_t left() const { return rest_.size(); }
  [[nodiscard]] wire::ByteView rest() const { return rest_; }
  [[nodiscard]] bool done() const { return ok_ && rest_.empty(); }

 private:
  wire::ByteView rest_;
  bool ok_ = true;
};

template <std::unsigned_integral T>
void put_big_endian(wire::Bytes& out, T value) {
  for (size_t shift = sizeof(T) * 8; shift > 0; shift -= 8) {
    out.push_back(static_cast<std::byte>(value >> (shift - 8)));
  }
}

}  // namespace microvm::net
