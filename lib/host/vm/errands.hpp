// Work that falls due on the reactor's thread and may take its time: it is done on threads of its
// own, so that no conversation waits for it. There are none before the first errand.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <thread>
#include <vector>

#include "base/thread_annotations.hpp"
#include "microvm/cancel.hpp"

namespace microvm::host {

// Thread-safe. Errands must not destroy what this belongs to: they hold it weakly.
class Errands {
 public:
  static constexpr size_t kMaxThreads = 8;
  using Work = std::function<void()>;

  explicit Errands(size_t max_threads = kMaxThreads) : max_threads_(max_threads) {}
  ~Errands() { stop(); }
  Errands(const Errands&) = delete;
  Errands& operator=(const Errands&) = delete;

  // Not before `delay` is over. Dropped unstarted once stop() was called. False: it will not be
  // done, since there is no thread for it.
  bool add(Work work, std::chrono::milliseconds delay = {}) MICROVM_EXCLUDES(mutex_);
  // Cancelled by stop(): for the waits of an errand.
  [[nodiscard]] const CancelToken& token() const { return token_; }
  // Waits for those under way. Not from an errand.
  void stop() MICROVM_EXCLUDES(mutex_);

 private:
  using Clock = std::chrono::steady_clock;
  void run() MICROVM_EXCLUDES(mutex_);
  // Empty: none any more.
  Work next() MICROVM_EXCLUDES(mutex_);
  void start_thread() MICROVM_REQUIRES(mutex_);

  const size_t max_threads_;
  CancelToken token_;
  base::Mutex mutex_;
  std::condition_variable changed_;
  std::multimap<Clock::time_point, Work> waiting_ MICROVM_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_ MICROVM_GUARDED_BY(mutex_);
  size_t idle_ MICROVM_GUARDED_BY(mutex_) = 0;  // of the threads
  bool stopped_ MICROVM_GUARDED_BY(mutex_) = false;
};

}  // namespace microvm::host
