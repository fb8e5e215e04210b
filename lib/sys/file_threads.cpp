#include "sys/file_threads.hpp"

#include <system_error>
#include <utility>

#include "base/blocked_signals.hpp"

namespace microvm::sys {

void FileThreads::start() {
  if (std::exchange(started_, true)) return;
  const base::BlockedSignals blocked;
  try {
    while (threads_.size() < kThreads) threads_.emplace_back([this] { work_on(); });
  } catch (const std::system_error&) {  // with fewer it goes on, with none in place
  }
}

void FileThreads::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    waiting_.clear();
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

bool FileThreads::run(std::function<void()> work) {
  start();
  if (threads_.empty()) return false;
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(work));
  }
  changed_.notify_one();
  return true;
}

void FileThreads::work_on() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    const auto work = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    work();
    lock.lock();
  }
}

}  // namespace microvm::sys
