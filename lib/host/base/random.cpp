#include "host/base/random.hpp"

#include <sys/random.h>

#include <algorithm>
#include <array>

namespace microvm::host {

Result<void> fill_random(std::span<std::byte> out) {
  if (::getrandom(out.data(), out.size(), 0) != static_cast<ssize_t>(out.size())) {
    return base::fail_errno("getrandom");
  }
  return {};
}

std::string hex(std::span<const std::byte> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::byte byte : bytes) {
    text += kDigits[std::to_integer<unsigned>(byte) >> 4];
    text += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

Result<std::string> random_hex(size_t bytes) {
  std::array<std::byte, 64> random{};
  const auto part = std::span(random).first(std::min(bytes, random.size()));
  if (auto filled = fill_random(part); !filled) return base::fail(filled.error());
  return hex(part);
}

}  // namespace microvm::host
