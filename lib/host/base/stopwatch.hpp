// How long a call has taken so far.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "host/base/start_trace.hpp"

namespace microvm::host {

// Runs from its making.
class Stopwatch {
 public:
  Stopwatch() = default;
  // Of a start that somebody may be looking at; none: nobody is.
  explicit Stopwatch(std::shared_ptr<StartTrace> trace) : trace_(std::move(trace)) {}

  [[nodiscard]] uint64_t us() const {
    const auto spent = std::chrono::steady_clock::now() - start_;
    return static_cast<uint64_t>(std::chrono::ceil<std::chrono::microseconds>(spent).count());
  }
  // For whoever looks: `step` has just been done.
  void mark(const char* step) const {
    if (trace_) trace_->mark(step);
  }
  [[nodiscard]] const std::shared_ptr<StartTrace>& trace() const { return trace_; }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::shared_ptr<StartTrace> trace_;
};

}  // namespace microvm::host
