// How long a call has taken so far.
#pragma once

#include <chrono>
#include <cstdint>

namespace microvm::host {

// Runs from its making.
class Stopwatch {
 public:
  [[nodiscard]] uint64_t us() const {
    const auto spent = std::chrono::steady_clock::now() - start_;
    return static_cast<uint64_t>(std::chrono::ceil<std::chrono::microseconds>(spent).count());
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace microvm::host
