// Arithmetic on numbers that came from outside: the overflow is the caller's branch, not a bug.
#pragma once

#include <concepts>
#include <optional>

namespace microvm::base {

template <std::unsigned_integral T>
[[nodiscard]] constexpr std::optional<T> checked_add(T a, T b) noexcept {
  T out{};
  if (__builtin_add_overflow(a, b, &out)) return std::nullopt;
  return out;
}

// True when [offset, offset + length) lies inside [0, size).
[[nodiscard]] constexpr bool range_fits(unsigned long long offset, unsigned long long length,
                                        unsigned long long size) noexcept {
  return offset <= size && length <= size - offset;
}

}  // namespace microvm::base
