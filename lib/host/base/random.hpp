// Randomness of the kernel's, as bytes and as text.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/error.hpp"

namespace microvm::host {

// At most 256 bytes: such a request is never cut short (getrandom(2)).
Result<void> fill_random(std::span<std::byte> out);

// Lower-case digits.
std::string hex(std::span<const std::byte> bytes);

// `bytes` random bytes, at most 64, as lower-case hex digits.
Result<std::string> random_hex(size_t bytes);

}  // namespace microvm::host
