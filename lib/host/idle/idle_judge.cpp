#include "host/idle/idle_judge.hpp"

#include <algorithm>

namespace microvm::host {
namespace {

using std::chrono::milliseconds;

bool sleeps(VmState state) {
  return state == VmState::suspended || state == VmState::suspending;
}

milliseconds to_ms(std::chrono::steady_clock::duration time) {
  return std::chrono::duration_cast<milliseconds>(time);
}

bool is_over(milliseconds spent, milliseconds limit) {
  return limit > milliseconds(0) && spent >= limit;
}

}  // namespace

IdleJudge::IdleJudge(const IdlePolicy& policy, Time now)
    : policy_(policy), started_(now), last_look_(now), busy_at_(now) {}

milliseconds IdleJudge::age(Time now) const {
  const auto all = now - started_;
  return to_ms(policy_.lifetime_counts_sleep ? all : all - slept_);
}

// Counters that went back belong to another run of the guest.
bool IdleJudge::is_idle(Time now, const Sight& sight) const {
  if (!sight.activity || sight.kept_awake || sight.activity->kept_awake) return false;
  if (sight.activity->programs > 0 || !last_) return false;
  if (sight.activity->stream_bytes != last_->stream_bytes) return false;
  const auto wall_us =
      std::chrono::duration_cast<std::chrono::microseconds>(now - last_look_).count();
  if (wall_us <= 0 || sight.activity->cpu_us < last_->cpu_us) return false;
  const auto used_us = static_cast<double>(sight.activity->cpu_us - last_->cpu_us);
  return used_us <= policy_.cpu_threshold * static_cast<double>(wall_us);
}

void IdleJudge::remember(Time now, const Sight& sight) {
  if (asleep_since_) slept_ += now - last_look_;
  if (sleeps(sight.state)) {
    if (!asleep_since_) asleep_since_ = now;
    last_.reset();
  } else {
    asleep_since_.reset();
    // A sleep between two looks is not seen as one.
    if (sight.resumes != resumes_) last_.reset();
    if (!is_idle(now, sight)) busy_at_ = now;
    last_ = sight.activity;
    resumes_ = sight.resumes;
  }
  last_look_ = now;
}

IdleAction IdleJudge::look(Time now, const Sight& sight) {
  remember(now, sight);
  if (sight.state == VmState::terminated) return IdleAction::none;
  if (is_over(age(now), policy_.lifetime)) return IdleAction::terminate_lifetime;
  if (asleep_since_) {
    const bool over = is_over(to_ms(now - *asleep_since_), policy_.suspended_for);
    return over ? IdleAction::terminate_slept : IdleAction::none;
  }
  if (sight.activity && sight.activity->wants_suspend) return IdleAction::suspend_asked;
  if (!is_over(to_ms(now - busy_at_), policy_.idle_after)) return IdleAction::none;
  busy_at_ = now;  // when nothing comes of it, on a full disk say, the next one is as far away
  return IdleAction::suspend_idle;
}

// A few looks within the shortest of the times, so that none is passed by much.
milliseconds IdleJudge::interval() const {
  constexpr milliseconds kShortest{100};
  constexpr milliseconds kLongest{5000};
  milliseconds shortest = kLongest * 8;
  for (const milliseconds time : {policy_.idle_after, policy_.suspended_for, policy_.lifetime}) {
    if (time > milliseconds(0)) shortest = std::min(shortest, time);
  }
  return std::clamp(shortest / 8, kShortest, kLongest);
}

}  // namespace microvm::host
