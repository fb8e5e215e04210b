// Little-endian fields in and out of byte buffers. The reader never reads past its end: after the
// first short read every later one fails too, so a decoder checks ok() once.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace microvm::wire {

static_assert(std::endian::native == std::endian::little, "the wire formats are little-endian");

using Bytes = std::vector<std::byte>;
using ByteView = std::span<const std::byte>;

inline ByteView as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
inline std::string_view as_text(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class ByteWriter {
 public:
  template <std::integral T>
  void put(T value) {
    raw(&value, sizeof value);
  }
  void put_bytes(ByteView bytes) { raw(bytes.data(), bytes.size()); }
  // u32 length, then the bytes.
  void put_string(std::string_view text) {
    put(static_cast<uint32_t>(text.size()));
    put_bytes(as_bytes(text));
  }
  [[nodiscard]] const Bytes& bytes() const { return bytes_; }
  [[nodiscard]] Bytes take() { return std::move(bytes_); }

 private:
  void raw(const void* data, size_t size) {
    const auto* begin = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), begin, begin + size);
  }
  Bytes bytes_;
};

class ByteReader {
 public:
  explicit ByteReader(ByteView bytes) : rest_(bytes) {}

  template <std::integral T>
  T get() {
    T value{};
    const ByteView field = get_bytes(sizeof value);
    if (!field.empty()) std::memcpy(&value, field.data(), sizeof value);
    return value;
  }
  // An empty view when fewer than `size` bytes are left.
  ByteView get_bytes(size_t size) {
    if (!ok_ || size > rest_.size()) {
      ok_ = false;
      return {};
    }
    const ByteView field = rest_.first(size);
    rest_ = rest_.subspan(size);
    return field;
  }
  std::string get_string(size_t max_size) {
    const auto size = get<uint32_t>();
    if (size > max_size) ok_ = false;
    return std::string(as_text(get_bytes(size)));
  }
  void fail() { ok_ = false; }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] size_t left() const { return rest_.size(); }
  // Everything read and nothing left: what a strict decoder wants at the end.
  [[nodiscard]] bool done() const { return ok_ && rest_.empty(); }

 private:
  ByteView rest_;
  bool ok_ = true;
};

}  // namespace microvm::wire
