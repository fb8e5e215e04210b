// A result that is waited for without a thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/thread_annotations.hpp"
#include "host/vm/vm_session.hpp"

namespace microvm::host {

// Held by shared_ptr, by who waits and by who delivers; thread-safe. Letting go of it cancels
// nothing.
template <class T>
class Awaited {
 public:
  using Done = std::function<void(Result<T>)>;
  // `given_up`: says from any thread, without a lock, that nobody wants the result any more.
  explicit Awaited(Done done, std::function<bool()> given_up = {})
      : given_up_(std::move(given_up)), done_(std::move(done)) {}

  // The first one counts. The result of a cancelled one is dropped.
  void deliver(Result<T> result) {
    const std::scoped_lock lock(mutex_);
    over_ = true;
    if (const auto done = std::exchange(done_, nullptr)) done(std::move(result));
  }
  // Afterwards `done` is not called any more, and not under way on another thread. Also from
  // `done`.
  void cancel() {
    const std::scoped_lock lock(mutex_);
    over_ = true;
    done_ = nullptr;
  }
  // Delivered or cancelled: a result is of no use. Without the lock, which is held as long as
  // `done` runs: this is asked under other locks.
  [[nodiscard]] bool is_over() const { return over_ || (given_up_ && given_up_()); }

 private:
  const std::function<bool()> given_up_;
  std::atomic<bool> over_{false};
  std::recursive_mutex mutex_;  // `done` may call
  Done done_;
};

using AwaitedSession = Awaited<std::shared_ptr<VmSession>>;

// Those who wait for one Vm to be awake: one attempt serves all that came before it is over.
// Thread-safe.
class AwakeQueue {
 public:
  using Waiters = std::vector<std::shared_ptr<AwaitedSession>>;
  enum class Added : uint8_t { begin, under_way, too_many };
  // `begin`: the caller sees to it that an attempt is made. At most `most` wait; 0: any number.
  Added add(std::shared_ptr<AwaitedSession> waiter, size_t most) MICROVM_EXCLUDES(mutex_);
  // The attempt is over: theirs is its result.
  Waiters take() MICROVM_EXCLUDES(mutex_);

 private:
  base::Mutex mutex_;
  Waiters waiters_ MICROVM_GUARDED_BY(mutex_);
  bool is_under_way_ MICROVM_GUARDED_BY(mutex_) = false;
};

}  // namespace microvm::host
