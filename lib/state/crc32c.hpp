// CRC-32C (Castagnoli), as storage formats use it: finds damage, is no protection against intent.
#pragma once

#include <cstdint>

#include "wire/bytes.hpp"

namespace microvm::state {

// `seed` is the result for the bytes before, 0 at the start.
[[nodiscard]] uint32_t crc32c(wire::ByteView bytes, uint32_t seed = 0) noexcept;

// The same from a table, where the CPU has no crc32 instruction.
[[nodiscard]] uint32_t crc32c_portable(wire::ByteView bytes, uint32_t seed = 0) noexcept;

}  // namespace microvm::state
