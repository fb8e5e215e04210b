#include "host/idle/idle_monitor.hpp"

#include "host/base/thread.hpp"

namespace microvm::host {

using Clock = std::chrono::steady_clock;

namespace {

// What a guest that answers is through with.
constexpr std::chrono::milliseconds kPatience{50};

}  // namespace

IdleMonitor::~IdleMonitor() {
  stop();
}

void IdleMonitor::stop() {
  std::vector<std::thread> threads;
  {
    const std::scoped_lock lock(mutex_);
    stopped_ = true;
    threads.swap(threads_);
  }
  changed_.notify_all();
  for (std::thread& thread : threads) thread.join();
}

Result<void> IdleMonitor::add(std::weak_ptr<IdleTarget> target, const IdlePolicy& policy) {
  const auto now = Clock::now();
  const IdleJudge judge(policy, now);
  const std::scoped_lock lock(mutex_);
  if (stopped_) return {};
  if (threads_.empty()) {
    if (auto ok = add_thread(); !ok) return ok;
  }
  watched_.push_back(
      std::make_shared<Watched>(Watched{std::move(target), judge, now + judge.interval()}));
  changed_.notify_all();
  return {};
}

Result<void> IdleMonitor::add_thread() {
  auto thread = start_thread([this] { run(); }, "watch for idleness");
  if (!thread) return base::fail(thread.error());
  threads_.push_back(std::move(*thread));
  return {};
}

// While guests answer at once one thread does all the work, for it goes on before the others'
// patience ends. What is overdue because of a guest that does not is taken over by one that waits.
void IdleMonitor::run() {
  Lock lock(mutex_);
  while (!stopped_) {
    const auto next = next_due();
    if (next == nullptr) {
      changed_.wait(lock);
      continue;
    }
    const auto when = working_ == 0 ? next->due : next->due + kPatience;
    if (changed_.wait_until(lock, when) == std::cv_status::no_timeout) continue;
    // While this one slept another may have taken it, or finished and gone on with it.
    if (!stopped_ && !next->in_work && next->due <= Clock::now()) work(next, lock);
  }
}

std::shared_ptr<IdleMonitor::Watched> IdleMonitor::next_due() const {
  std::shared_ptr<Watched> next;
  for (const auto& watched : watched_) {
    if (!watched->in_work && (next == nullptr || watched->due < next->due)) next = watched;
  }
  return next;
}

// Looking asks the guest and acting takes as long as a suspend: without the lock.
void IdleMonitor::work(const std::shared_ptr<Watched>& watched, Lock& lock) {
  watched->in_work = true;
  // The others have a thread that waits for them; without one they wait for this.
  if (++working_ == threads_.size()) static_cast<void>(add_thread());
  lock.unlock();
  bool gone = true;
  if (const auto target = watched->target.lock()) {
    const auto sight = target->look();
    const auto action = watched->judge.look(Clock::now(), sight);
    if (action != IdleAction::none) target->act(action);
    gone = sight.state == VmState::terminated;
  }
  lock.lock();
  --working_;
  watched->in_work = false;
  watched->due = Clock::now() + watched->judge.interval();
  if (gone) std::erase(watched_, watched);
}

}  // namespace microvm::host
