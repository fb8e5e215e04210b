// How many bytes per second all flows of a Vm move together.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>

#include "sys/loop.hpp"

namespace microvm::net {

class Pace {
 public:
  explicit Pace(sys::Loop& loop) : loop_(loop) {}
  ~Pace();
  Pace(const Pace&) = delete;
  Pace& operator=(const Pace&) = delete;

  void set_limit(uint64_t bytes_per_second);

  // How many may move now; what did is spent. More than that: it counts against what comes.
  [[nodiscard]] uint64_t allowed();
  void spend(uint64_t bytes);

  // Calls once when some may move again, unless it is cancelled.
  using Waiter = uint64_t;
  Waiter wait(std::function<void()> go_on);
  void cancel(Waiter waiter) { waiting_.erase(waiter); }

 private:
  void refill();
  void wake();

  sys::Loop& loop_;
  uint64_t limit_ = 0;
  double left_ = 0;
  std::chrono::steady_clock::time_point at_{};
  std::map<Waiter, std::function<void()>> waiting_;
  Waiter next_ = 1;
  sys::Loop::TimerId timer_ = 0;  // 0: none
};

}  // namespace microvm::net
