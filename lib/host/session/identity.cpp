#include "host/session/identity.hpp"

#include <algorithm>
#include <span>

#include "host/base/random.hpp"

namespace microvm::host {
namespace {

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

}  // namespace microvm::host
