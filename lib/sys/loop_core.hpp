// What both loops share: timers, posted work, running and stopping. A backend adds fd readiness and
// file I/O. Everything is taken from its queue one piece at a time, so a callback may itself call
// run_once() (a device drains that way) and loses nothing.
#pragma once

#include <poll.h>

#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/fd.hpp"
#include "sys/loop.hpp"

namespace microvm::sys {

using Clock = std::chrono::steady_clock;

// Whether they are watched for or not.
inline constexpr uint32_t kAlwaysReported = POLLERR | POLLHUP | POLLNVAL;

class LoopCore : public Loop {
 public:
  TimerId after(std::chrono::nanoseconds delay, std::function<void()> fire) final;
  void cancel(TimerId id) final;
  void post(std::function<void()> work) final;
  void run() final;
  void run_once(std::chrono::milliseconds limit) final;
  void stop() final;
  void raise(int eventfd) final;
  void flush_raised() final;

 protected:
  // Does what was raised, then waits until something is ready or `limit` has passed (empty: no
  // limit).
  virtual void wait(std::optional<std::chrono::nanoseconds> limit) = 0;
  // Calls the handlers of what is ready.
  virtual void dispatch() = 0;

  // Makes the eventfd that ends a wait from another thread; the backend's constructor has run.
  Result<void> open_wakeup();
  // The eventfds that are to be raised; the caller does it.
  [[nodiscard]] std::vector<int>& raised() noexcept { return raised_; }
  // A system call.
  static void add_one(int eventfd);

 private:
  void step(std::optional<Clock::time_point> until);
  bool run_timers();
  bool run_posted();
  bool prepare_sleep();
  void wake();
  [[nodiscard]] std::optional<std::chrono::nanoseconds> time_left(
      std::optional<Clock::time_point> until) const;

  struct Timer {
    TimerId id;
    std::function<void()> fire;
  };
  std::multimap<Clock::time_point, Timer> timers_;
  std::unordered_map<TimerId, decltype(timers_)::iterator> timer_index_;
  TimerId next_timer_ = 1;

  base::Fd wakeup_;
  std::vector<int> raised_;
  std::atomic<std::thread::id> runner_;  // who runs the loop now
  std::atomic<bool> stopping_ = false;
  std::mutex mutex_;  // of posted_; and sleeping_ is set under it
  std::deque<std::function<void()>> posted_;
  std::atomic<bool> sleeping_ = false;  // the loop waits, or will: a post must write the eventfd
};

}  // namespace microvm::sys
