#include "host/idle/idle_monitor.hpp"

#include <algorithm>

namespace microvm::host {

using Clock = std::chrono::steady_clock;

IdleMonitor::~IdleMonitor() {
  stop();
}

void IdleMonitor::stop() {
  {
    const std::scoped_lock lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void IdleMonitor::add(std::weak_ptr<IdleTarget> target, const IdlePolicy& policy) {
  const auto now = Clock::now();
  IdleJudge judge(policy, now);
  const auto due = now + judge.interval();
  const std::scoped_lock lock(mutex_);
  if (stopped_) return;
  watched_.push_back(std::make_shared<Watched>(Watched{std::move(target), judge, due}));
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  changed_.notify_all();
}

void IdleMonitor::run() {
  std::unique_lock lock(mutex_);
  while (!stopped_) {
    if (watched_.empty()) {
      changed_.wait(lock);
      continue;
    }
    const auto next = std::ranges::min(watched_, {}, [](const auto& w) { return w->due; })->due;
    if (changed_.wait_until(lock, next) == std::cv_status::no_timeout) continue;
    look_at_due(lock);
  }
}

// Looking asks the guest and acting takes as long as a suspend: without the lock.
void IdleMonitor::look_at_due(std::unique_lock<std::mutex>& lock) {
  const auto now = Clock::now();
  std::vector<std::shared_ptr<Watched>> due;
  std::ranges::copy_if(watched_, std::back_inserter(due),
                       [&](const auto& watched) { return watched->due <= now; });
  lock.unlock();
  std::vector<std::shared_ptr<Watched>> gone;
  for (const auto& watched : due) {
    const auto target = watched->target.lock();
    if (!target) {
      gone.push_back(watched);
      continue;
    }
    const auto sight = target->look();
    const auto action = watched->judge.look(Clock::now(), sight);
    if (action != IdleAction::none) target->act(action);
    if (sight.state == VmState::terminated) gone.push_back(watched);
  }
  lock.lock();
  for (const auto& watched : due) watched->due = Clock::now() + watched->judge.interval();
  std::erase_if(watched_, [&](const auto& w) { return std::ranges::count(gone, w) != 0; });
}

}  // namespace microvm::host
