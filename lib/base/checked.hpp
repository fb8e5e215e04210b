// Arithmetic on numbers that came from outside: the overflow is the caller's branch, not a bug.
#pragma once

#include <concepts>
#include <limits>
#include <optional>
#include <utility>

namespace microvm::base {

template <std::unsigned_integral T>
[[nodiscard]] constexpr std::optional<T> checked_add(T a, T b) noexcept {
  T out{};
  if (__builtin_add_overflow(a, b, &out)) return std::nullopt;
  return out;
}

template <std::unsigned_integral T>
[[nodiscard]] constexpr std::optional<T> checked_mul(T a, T b) noexcept {
  T out{};
  if (__builtin_mul_overflow(a, b, &out)) return std::nullopt;
  return out;
}

template <std::integral To, std::integral From>
[[nodiscard]] constexpr std::optional<To> checked_cast(From value) noexcept {
  if (!std::in_range<To>(value)) return std::nullopt;
  return static_cast<To>(value);
}

// True when [offset, offset + length) lies inside [0, size).
[[nodiscard]] constexpr bool range_fits(unsigned long long offset, unsigned long long length,
                                        unsigned long long size) noexcept {
  return offset <= size && length <= size - offset;
}

// Rounds up to a power-of-two alignment; empty on overflow.
template <std::unsigned_integral T>
[[nodiscard]] constexpr std::optional<T> checked_align_up(T value, T alignment) noexcept {
  const auto sum = checked_add<T>(value, static_cast<T>(alignment - 1));
  if (!sum) return std::nullopt;
  return static_cast<T>(*sum & ~static_cast<T>(alignment - 1));
}

}  // namespace microvm::base
