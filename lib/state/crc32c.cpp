#include "state/crc32c.hpp"

#include <nmmintrin.h>

#include <array>

namespace microvm::state {
namespace {

constexpr uint32_t kReversedPolynomial = 0x82f6'3b78;

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < table.size(); ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) {
      value = (value >> 1) ^ ((value & 1) != 0 ? kReversedPolynomial : 0);
    }
    table[byte] = value;
  }
  return table;
}

constexpr auto kTable = make_table();

__attribute__((target("sse4.2"))) uint32_t crc32c_sse42(wire::ByteView bytes,
                                                        uint32_t seed) noexcept {
  uint64_t value = ~seed;
  while (bytes.size() >= sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data(), sizeof word);
    value = _mm_crc32_u64(value, word);
    bytes = bytes.subspan(sizeof word);
  }
  auto narrow = static_cast<uint32_t>(value);
  for (const std::byte byte : bytes) narrow = _mm_crc32_u8(narrow, static_cast<uint8_t>(byte));
  return ~narrow;
}

}  // namespace

uint32_t crc32c_portable(wire::ByteView bytes, uint32_t seed) noexcept {
  uint32_t value = ~seed;
  for (const std::byte byte : bytes) {
    value = (value >> 8) ^ kTable[(value ^ static_cast<uint32_t>(byte)) & 0xff];
  }
  return ~value;
}

uint32_t crc32c(wire::ByteView bytes, uint32_t seed) noexcept {
  static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
  return has_instruction ? crc32c_sse42(bytes, seed) : crc32c_portable(bytes, seed);
}

}  // namespace microvm::state
