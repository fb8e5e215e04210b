// Points on CLOCK_MONOTONIC, which a snapshot stops and a restore continues.
#pragma once

#include <algorithm>
#include <climits>
#include <cstdint>
#include <ctime>

namespace microvm::agent {

inline constexpr int64_t kNsPerSecond = 1'000'000'000;

[[nodiscard]] inline int64_t monotonic_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

[[nodiscard]] inline int64_t monotonic_us() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000;
}

inline void sleep_ms(int64_t duration_ms) {
  const timespec duration{.tv_sec = duration_ms / 1000, .tv_nsec = duration_ms % 1000 * 1'000'000};
  nanosleep(&duration, nullptr);
}

// The earlier of two timeouts for poll(); -1 waits forever.
[[nodiscard]] inline int earlier(int one_ms, int other_ms) {
  if (one_ms < 0 || other_ms < 0) return std::max(one_ms, other_ms);
  return std::min(one_ms, other_ms);
}

class Deadline {
 public:
  [[nodiscard]] static Deadline never() { return Deadline(INT64_MAX); }
  [[nodiscard]] static Deadline after_ms(int64_t ms) { return Deadline(monotonic_ms() + ms); }

  [[nodiscard]] bool passed() const { return at_ms_ != INT64_MAX && monotonic_ms() >= at_ms_; }

  // For poll(): -1 waits forever.
  [[nodiscard]] int poll_timeout_ms() const {
    if (at_ms_ == INT64_MAX) return -1;
    const int64_t left = at_ms_ - monotonic_ms();
    if (left <= 0) return 0;
    return left > INT_MAX ? INT_MAX : static_cast<int>(left);
  }

  [[nodiscard]] timespec as_timespec() const {
    return {.tv_sec = at_ms_ / 1000, .tv_nsec = at_ms_ % 1000 * 1'000'000};
  }

 private:
  explicit Deadline(int64_t at_ms) : at_ms_(at_ms) {}
  int64_t at_ms_;
};

}  // namespace microvm::agent
