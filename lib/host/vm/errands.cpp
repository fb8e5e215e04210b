#include "host/vm/errands.hpp"

#include <utility>

#include "host/base/thread.hpp"

namespace microvm::host {

bool Errands::add(Work work, std::chrono::milliseconds delay) {
  {
    const base::MutexLock lock(mutex_);
    if (stopped_) return false;
    if (waiting_.size() >= idle_ && threads_.size() < max_threads_) start_thread();
    if (threads_.empty()) return false;
    waiting_.emplace(Clock::now() + delay, std::move(work));
  }
  changed_.notify_one();
  return true;
}

// Where the host has no more of them the others have more to do.
void Errands::start_thread() {
  auto thread = host::start_thread([this] { run(); }, "errands");
  if (!thread) return;
  threads_.push_back(std::move(*thread));
  ++idle_;
}

void Errands::stop() {
  std::vector<std::thread> threads;
  std::multimap<Clock::time_point, Work> dropped;  // with what they hold: without the lock
  {
    const base::MutexLock lock(mutex_);
    stopped_ = true;
    threads.swap(threads_);
    dropped.swap(waiting_);
  }
  token_.cancel();
  changed_.notify_all();
  for (std::thread& thread : threads) thread.join();
}

void Errands::run() {
  while (const Work work = next()) {
    work();
    const base::MutexLock lock(mutex_);
    ++idle_;
  }
}

Errands::Work Errands::next() {
  base::MutexLock lock(mutex_);
  while (!stopped_) {
    if (waiting_.empty()) {
      changed_.wait(lock.native());
    } else if (const auto due = waiting_.begin()->first; due > Clock::now()) {
      changed_.wait_until(lock.native(), due);
    } else {
      --idle_;
      Work work = std::move(waiting_.extract(waiting_.begin()).mapped());
      // Who timed the one that is due next may be this thread.
      if (!waiting_.empty()) changed_.notify_one();
      return work;
    }
  }
  return {};
}

}  // namespace microvm::host
