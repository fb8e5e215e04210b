#include "host/vm/awaited.hpp"

namespace microvm::host {

AwakeQueue::Added AwakeQueue::add(std::shared_ptr<AwaitedSession> waiter, size_t most) {
  const base::MutexLock lock(mutex_);
  // Those that gave up make room.
  if (most != 0 && waiters_.size() >= most) {
    std::erase_if(waiters_, [](const auto& waiting) { return waiting->is_over(); });
  }
  if (most != 0 && waiters_.size() >= most) return Added::too_many;
  waiters_.push_back(std::move(waiter));
  return std::exchange(is_under_way_, true) ? Added::under_way : Added::begin;
}

AwakeQueue::Waiters AwakeQueue::take() {
  const base::MutexLock lock(mutex_);
  is_under_way_ = false;
  return std::exchange(waiters_, {});
}

}  // namespace microvm::host
