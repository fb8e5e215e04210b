// Times of files: nanoseconds on the wire, seconds and the rest in tars and in directories.
#pragma once

#include <cstdint>

namespace microvm::host {

inline constexpr int64_t kNsPerSecond = 1'000'000'000;

}  // namespace microvm::host
