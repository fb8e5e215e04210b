#include "host/base/limits.hpp"

#include <poll.h>

#include <algorithm>
#include <string>

namespace microvm::host {

Limits::Limits(const CallLimits& limits, std::chrono::milliseconds library_limit)
    : cancel_(limits.cancel) {
  auto limit = limits.timeout;
  if (library_limit.count() > 0 && (limit.count() <= 0 || library_limit < limit)) {
    limit = library_limit;
  }
  if (limit.count() > 0) deadline_ = Clock::now() + limit;
}

Limits Limits::within(std::chrono::milliseconds limit) const {
  Limits narrowed = *this;
  const auto end = Clock::now() + limit;
  if (!deadline_ || end < *deadline_) narrowed.deadline_ = end;
  return narrowed;
}

Limits Limits::at_once() {
  Limits limits({});
  limits.may_wait_ = false;
  return limits;
}

CallLimits Limits::rest() const {
  CallLimits limits{cancel_, {}};
  if (deadline_) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline_ - Clock::now());
    limits.timeout = std::max(left, std::chrono::milliseconds(1));  // zero would mean none
  }
  return limits;
}

Result<void> Limits::check(std::string_view what) const {
  if (cancel_ != nullptr && cancel_->cancelled()) {
    return base::fail(ErrorCode::cancelled, std::string(what) + ": cancelled");
  }
  if (deadline_ && Clock::now() >= *deadline_) {
    return base::fail(ErrorCode::deadline_exceeded, std::string(what) + ": the time limit passed");
  }
  return {};
}

int Limits::poll_timeout_ms() const {
  // A token without an fd, or of the process that this one was forked from, has to be looked at.
  const bool must_look = cancel_ != nullptr && cancel_->fd() < 0;
  const int64_t most = must_look ? 20 : 60'000;
  if (!deadline_) return must_look ? static_cast<int>(most) : -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline_ - Clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, most));
}

base::Failure Limits::would_block(std::string_view what) {
  return base::fail(ErrorCode::would_block, std::string(what) + ": not now: wait for its fd");
}

Result<void> Limits::wait(int fd, short poll_events, std::string_view what) const {
  for (;;) {
    if (auto ok = check(what); !ok) return ok;
    pollfd fds[2] = {{fd, poll_events, 0}, {cancel_ != nullptr ? cancel_->fd() : -1, POLLIN, 0}};
    if (::poll(fds, 2, may_wait_ ? poll_timeout_ms() : 0) < 0 && errno != EINTR) {
      return base::fail_errno(std::string(what) + ": poll");
    }
    if (fds[0].revents != 0) return {};
    if (!may_wait_) return would_block(what);
  }
}

// In slices, so that the limits count meanwhile.
Result<std::unique_lock<std::timed_mutex>> Limits::lock(std::timed_mutex& mutex,
                                                        std::string_view what) const {
  constexpr std::chrono::milliseconds kSlice{20};
  std::unique_lock held(mutex, std::defer_lock);
  do {
    if (auto ok = check(what); !ok) return base::fail(ok.error());
    if (!may_wait_ && !held.try_lock()) return would_block(what);
  } while (!held.owns_lock() && !held.try_lock_for(kSlice));
  return held;
}

}  // namespace microvm::host
