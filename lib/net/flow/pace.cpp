#include "net/flow/pace.hpp"

#include <algorithm>
#include <limits>

namespace microvm::net {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kStep{10};
constexpr double kBurstSeconds = 0.1;
constexpr double kLeastBurst = 64 * 1024;  // one frame is always possible

}  // namespace

Pace::~Pace() {
  if (timer_ != 0) loop_.cancel(timer_);
}

void Pace::set_limit(uint64_t bytes_per_second) {
  limit_ = bytes_per_second;
  left_ = 0;
  at_ = Clock::now();
  if (limit_ == 0) wake();
}

void Pace::refill() {
  const auto now = Clock::now();
  const double passed = std::chrono::duration<double>(now - at_).count();
  at_ = now;
  const auto rate = static_cast<double>(limit_);
  left_ = std::min(left_ + passed * rate, std::max(rate * kBurstSeconds, kLeastBurst));
}

uint64_t Pace::allowed() {
  if (limit_ == 0) return std::numeric_limits<uint64_t>::max();
  refill();
  return left_ < 1 ? 0 : static_cast<uint64_t>(left_);
}

void Pace::spend(uint64_t bytes) {
  if (limit_ != 0) left_ -= static_cast<double>(bytes);
}

Pace::Waiter Pace::wait(std::function<void()> go_on) {
  const Waiter waiter = next_++;
  waiting_.emplace(waiter, std::move(go_on));
  if (timer_ == 0) {
    timer_ = loop_.after(kStep, [this] {
      timer_ = 0;
      wake();
    });
  }
  return waiter;
}

// Those that find nothing left wait again, behind the others.
void Pace::wake() {
  const Waiter end = next_;
  while (!waiting_.empty() && waiting_.begin()->first < end) {
    auto go_on = std::move(waiting_.begin()->second);
    waiting_.erase(waiting_.begin());
    go_on();
  }
}

}  // namespace microvm::net
