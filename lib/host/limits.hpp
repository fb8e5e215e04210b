// The question a long call asks between its pieces: may I go on?
#pragma once

#include <chrono>
#include <string>

#include "base/error.hpp"
#include "microvm/cancel.hpp"

namespace microvm::host {

class CallCheck {
 public:
  // `what` begins the message of the error: "import base debian:bookworm". Borrows limits.cancel.
  CallCheck(const CallLimits& limits, std::string what)
      : cancel_(limits.cancel), what_(std::move(what)) {
    if (limits.timeout.count() > 0) deadline_ = Clock::now() + limits.timeout;
  }

  [[nodiscard]] Result<void> operator()() const {
    if (cancel_ != nullptr && cancel_->cancelled())
      return base::fail(ErrorCode::cancelled, what_ + ": cancelled");
    if (deadline_ != Clock::time_point::max() && Clock::now() >= deadline_)
      return base::fail(ErrorCode::deadline_exceeded, what_ + ": the time limit passed");
    return {};
  }

 private:
  using Clock = std::chrono::steady_clock;
  const CancelToken* cancel_;
  std::string what_;
  Clock::time_point deadline_ = Clock::time_point::max();
};

}  // namespace microvm::host
