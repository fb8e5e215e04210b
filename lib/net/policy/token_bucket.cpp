#include "net/policy/token_bucket.hpp"

#include <algorithm>

namespace microvm::net {
namespace {

constexpr uint64_t kNsPerSecond = 1'000'000'000;
__extension__ using Wide = unsigned __int128;  // a rate times nanoseconds

}  // namespace

TokenBucket::TokenBucket(uint64_t per_second, uint64_t burst, Time now)
    : per_second_(per_second),
      burst_(std::max<uint64_t>(burst, 1)),
      tokens_(burst_),
      refilled_at_(now) {}

bool TokenBucket::take(uint64_t count, Time now) {
  if (per_second_ == 0) return true;
  refill(now);
  if (tokens_ < count) return false;
  tokens_ -= count;
  return true;
}

uint64_t TokenBucket::take_up_to(uint64_t count, Time now) {
  if (per_second_ == 0) return count;
  refill(now);
  const uint64_t taken = std::min(tokens_, count);
  tokens_ -= taken;
  return taken;
}

void TokenBucket::give_back(uint64_t count) {
  tokens_ += std::min(burst_ - tokens_, count);
}

TokenBucket::Time TokenBucket::when(uint64_t count, Time now) {
  if (per_second_ == 0) return now;
  refill(now);
  const uint64_t wanted = std::min(count, burst_);
  if (tokens_ >= wanted) return now;
  const Wide ns = (Wide{wanted - tokens_} * kNsPerSecond + per_second_ - 1) / per_second_;
  return refilled_at_ + std::chrono::nanoseconds(static_cast<int64_t>(ns));
}

void TokenBucket::set_limit(uint64_t per_second, uint64_t burst, Time now) {
  refill(now);
  const bool had_none = per_second_ == 0;
  per_second_ = per_second;
  burst_ = std::max<uint64_t>(burst, 1);
  tokens_ = had_none ? burst_ : std::min(tokens_, burst_);
}

// Only the time of whole tokens is counted as gone: a slow rate asked often still fills.
void TokenBucket::refill(Time now) {
  if (now <= refilled_at_) return;
  const auto ns = static_cast<uint64_t>(std::chrono::nanoseconds(now - refilled_at_).count());
  const Wide earned = Wide{ns} * per_second_ / kNsPerSecond;
  if (per_second_ == 0 || earned >= burst_ - tokens_) {
    tokens_ = burst_;
    refilled_at_ = now;
    return;
  }
  tokens_ += static_cast<uint64_t>(earned);
  refilled_at_ +=
      std::chrono::nanoseconds(static_cast<int64_t>(earned * kNsPerSecond / per_second_));
}

}  // namespace microvm::net
