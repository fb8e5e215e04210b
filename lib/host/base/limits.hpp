// One call's time limit and cancel token, fixed when the call begins, and the waits that obey them.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.hpp"
#include "microvm/cancel.hpp"

namespace microvm::host {

class Limits {
 public:
  using Clock = std::chrono::steady_clock;

  // Borrows limits.cancel. `library_limit` is the library's own bound for the call; zero: none. The
  // earlier one counts.
  explicit Limits(const CallLimits& limits, std::chrono::milliseconds library_limit = {});
  // The same token, and at most `limit` from now.
  [[nodiscard]] Limits within(std::chrono::milliseconds limit) const;
  // Of a call that must not wait: what would, fails with would_block.
  static Limits at_once();
  [[nodiscard]] bool may_wait() const { return may_wait_; }

  // What is left of them, for a call that takes CallLimits.
  [[nodiscard]] CallLimits rest() const;

  // `what` begins the message: "exec: the time limit passed". Errors: cancelled, deadline_exceeded.
  [[nodiscard]] Result<void> check(std::string_view what) const;

  // Until one of `poll_events` (or an error or hang-up) is there on fd.
  [[nodiscard]] Result<void> wait(int fd, short poll_events, std::string_view what) const;
  // Others have the lock for as long as their own calls take.
  [[nodiscard]] Result<std::unique_lock<std::timed_mutex>> lock(std::timed_mutex& mutex,
                                                                std::string_view what) const;
  // The error of what would have to wait.
  [[nodiscard]] static base::Failure would_block(std::string_view what);

  [[nodiscard]] const CancelToken* cancel() const { return cancel_; }
  [[nodiscard]] std::optional<Clock::time_point> deadline() const { return deadline_; }

 private:
  [[nodiscard]] int poll_timeout_ms() const;

  const CancelToken* cancel_ = nullptr;
  std::optional<Clock::time_point> deadline_;
  bool may_wait_ = true;
};

// A question of the same kind, for what takes any; empty: yes.
using MayGoOn = std::function<Result<void>()>;
[[nodiscard]] inline Result<void> ask(const MayGoOn& may_go_on) {
  return may_go_on ? may_go_on() : Result<void>();
}

// The question a long call asks between its pieces: may I go on?
class CallCheck {
 public:
  // `what` begins the message of the error: "import base debian:bookworm".
  CallCheck(const Limits& limits, std::string what) : limits_(limits), what_(std::move(what)) {}
  CallCheck(const CallLimits& limits, std::string what)
      : CallCheck(Limits(limits), std::move(what)) {}

  [[nodiscard]] Result<void> operator()() const { return limits_.check(what_); }
  // For a call that counts its time limit from its own beginning.
  [[nodiscard]] CallLimits rest() const { return limits_.rest(); }

 private:
  Limits limits_;
  std::string what_;
};

}  // namespace microvm::host
