// A limit per second that allows bursts. No clock in it.
#pragma once

#include <chrono>
#include <cstdint>

namespace microvm::net {

class TokenBucket {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // per_second 0: no limit. Full at first.
  TokenBucket(uint64_t per_second, uint64_t burst, Time now);

  // All of them, or none and false.
  bool take(uint64_t count, Time now);
  // As many as there are, at most `count`.
  uint64_t take_up_to(uint64_t count, Time now);
  void give_back(uint64_t count);

  // When so many (of a burst at most) are there, if no others are taken.
  [[nodiscard]] Time when(uint64_t count, Time now);

  // What was taken stays taken.
  void set_limit(uint64_t per_second, uint64_t burst, Time now);

 private:
  void refill(Time now);

  uint64_t per_second_;
  uint64_t burst_;
  uint64_t tokens_;
  Time refilled_at_;  // up to here tokens were counted in
};

}  // namespace microvm::net
