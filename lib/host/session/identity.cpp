#include "host/session/identity.hpp"

#include <sys/random.h>

#include <span>

namespace microvm::host {
namespace {

// At most 256 bytes: such a request is never cut short (getrandom(2)).
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

// RFC 9562 §5.4: version 4, variant 10.
std::string uuid(std::span<std::byte, 16> bytes) {
  bytes[6] = (bytes[6] & std::byte{0x0f}) | std::byte{0x40};
  bytes[8] = (bytes[8] & std::byte{0x3f}) | std::byte{0x80};
  std::string text = hex(bytes);
  for (const size_t dash : {8u, 13u, 18u, 23u}) text.insert(dash, 1, '-');
  return text;
}

}  // namespace

Result<Identity> make_identity(const std::string& hostname) {
  std::array<std::byte, 16 + 16 + 64> random{};
  if (auto filled = fill_random(random); !filled) return base::fail(filled.error());
  const std::span all(random);
  Identity identity;
  identity.hostname = hostname;
  identity.machine_id = hex(all.subspan<0, 16>());
  identity.boot_id = uuid(all.subspan<16, 16>());
  std::copy_n(all.subspan<32>().begin(), identity.seed.size(), identity.seed.begin());
  return identity;
}

Result<std::string> random_hex(size_t bytes) {
  std::array<std::byte, 64> random{};
  const auto part = std::span(random).first(std::min(bytes, random.size()));
  if (auto filled = fill_random(part); !filled) return base::fail(filled.error());
  return hex(part);
}

}  // namespace microvm::host
