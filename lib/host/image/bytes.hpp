// Byte strings of the import code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace microvm::host {

using Bytes = std::vector<std::byte>;
using ByteSpan = std::span<const std::byte>;

// The little-endian number at `at`; the caller has checked that it lies inside.
template <class T>
[[nodiscard]] T load_le(ByteSpan bytes, size_t at) noexcept {
  T value = 0;
  for (size_t i = sizeof(T); i-- > 0;)
    value = static_cast<T>((static_cast<uint64_t>(value) << 8) |
                           std::to_integer<uint64_t>(bytes[at + i]));
  return value;
}

}  // namespace microvm::host
