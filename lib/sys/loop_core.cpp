#include "sys/loop_core.hpp"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>

namespace microvm::sys {

using std::chrono::nanoseconds;

Result<void> LoopCore::open_wakeup() {
  wakeup_.reset(::eventfd(0, EFD_CLOEXEC));
  if (!wakeup_) return base::fail_errno("create eventfd");
  watch_counter(wakeup_.get(), [](uint64_t) {});
  return {};
}

Loop::TimerId LoopCore::after(nanoseconds delay, std::function<void()> fire) {
  const TimerId id = next_timer_++;
  timer_index_[id] = timers_.emplace(Clock::now() + delay, Timer{id, std::move(fire)});
  return id;
}

void LoopCore::cancel(TimerId id) {
  const auto found = timer_index_.find(id);
  if (found == timer_index_.end()) return;
  timers_.erase(found->second);
  timer_index_.erase(found);
}

void LoopCore::post(std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  posted_.push_back(std::move(work));
  wake();
}

void LoopCore::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  wake();
}

// Only a loop that sleeps costs a system call; one that does not looks at the queue before it does.
void LoopCore::wake() {
  if (sleeping_.exchange(false)) add_one(wakeup_.get());
}

// A full counter means that the other side has not looked yet: it will.
void LoopCore::add_one(int eventfd) {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = ::write(eventfd, &one, sizeof one);
}

void LoopCore::raise(int eventfd) {
  if (runner_.load(std::memory_order_relaxed) != std::this_thread::get_id()) {
    return add_one(eventfd);
  }
  if (std::ranges::find(raised_, eventfd) == raised_.end()) raised_.push_back(eventfd);
}

void LoopCore::flush_raised() {
  for (const int eventfd : std::exchange(raised_, {})) add_one(eventfd);
}

void LoopCore::run() {
  const auto before = runner_.exchange(std::this_thread::get_id());
  while (!stopping_) step(std::nullopt);
  stopping_ = false;
  flush_raised();
  runner_ = before;
}

// Who drains looks at what came of it next.
void LoopCore::run_once(std::chrono::milliseconds limit) {
  const auto before = runner_.exchange(std::this_thread::get_id());
  step(Clock::now() + limit);
  flush_raised();
  runner_ = before;
}

// run_once() returns when it has run something; run() need not come back for that.
void LoopCore::step(std::optional<Clock::time_point> until) {
  const bool ran_timers = run_timers();
  const bool ran = run_posted() || ran_timers;
  const bool may_sleep = !(ran && until) && prepare_sleep();
  wait(may_sleep ? time_left(until) : nanoseconds(0));
  sleeping_ = false;  // what handlers post is run before the next wait in any case
  dispatch();
  run_timers();
  run_posted();
}

bool LoopCore::prepare_sleep() {
  const std::lock_guard lock(mutex_);
  sleeping_ = posted_.empty() && !stopping_;
  return sleeping_;
}

std::optional<nanoseconds> LoopCore::time_left(std::optional<Clock::time_point> until) const {
  if (!timers_.empty())
    until = std::min(until.value_or(timers_.begin()->first), timers_.begin()->first);
  if (!until) return std::nullopt;
  return std::max(nanoseconds(0), nanoseconds(*until - Clock::now()));
}

// Timers started by the ones that fire wait for the next round: a zero delay cannot starve the fds.
bool LoopCore::run_timers() {
  if (timers_.empty()) return false;
  const auto now = Clock::now();
  const TimerId first_new = next_timer_;
  bool ran = false;
  for (auto next = timers_.begin(); next != timers_.end() && next->first <= now;) {
    if (next->second.id >= first_new) {
      ++next;
      continue;
    }
    const auto fire = std::move(next->second.fire);
    timer_index_.erase(next->second.id);
    timers_.erase(next);
    fire();
    ran = true;
    next = timers_.begin();
  }
  return ran;
}

bool LoopCore::run_posted() {
  std::unique_lock lock(mutex_);
  const size_t count = posted_.size();  // what these post waits for the next round
  size_t ran = 0;
  for (; ran < count && !posted_.empty(); ++ran) {
    const auto work = std::move(posted_.front());
    posted_.pop_front();
    lock.unlock();
    work();
    lock.lock();
  }
  return ran > 0;
}

}  // namespace microvm::sys
