#include "sys/file_threads.hpp"

#include <csignal>
#include <system_error>
#include <utility>

namespace microvm::sys {

void FileThreads::start() {
  if (std::exchange(started_, true)) return;
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    while (threads_.size() < kThreads) threads_.emplace_back([this] { work_on(); });
  } catch (const std::system_error&) {  // with fewer it goes on, with none in place
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
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
