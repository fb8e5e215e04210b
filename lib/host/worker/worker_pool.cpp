#include "host/worker/worker_pool.hpp"

#include <poll.h>

#include <algorithm>

#include "host/base/thread.hpp"
#include "sys/file.hpp"
#include "sys/priority.hpp"

namespace microvm::host {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view kFilling = "fill the pool";
// A worker that has not shaped itself by then is broken.
constexpr std::chrono::seconds kSettleLimit{30};
// How soon the filler sees that what it waits for was taken, or that the pool is stopped.
constexpr milliseconds kLookAgain{20};

bool is_readable(int fd, milliseconds wait) {
  return sys::wait_fd(fd, POLLIN, sys::WaitLimits::within(wait)).has_value();
}

// On a thread of its own, which may end with less priority than it had.
bool priority_comes_back() {
  bool does = false;
  auto probe = start_thread([&] { does = sys::try_lower_and_raise(); }, kFilling);
  if (probe) probe->join();
  return does;
}

}  // namespace

// ---- one start ---------------------------------------------------------------------------------

PoolRefill::PoolRefill(WorkerPool& pool, const Shape& shape)
    : pool_(&pool), hold_(pool.add_hold(shape)) {}

PoolRefill::~PoolRefill() {
  if (pool_ != nullptr) pool_->end_hold(hold_);
}

void PoolRefill::guest_is_ready(std::chrono::microseconds took) const {
  if (pool_ != nullptr) pool_->shorten_hold(hold_, took);
}

uint64_t WorkerPool::add_hold(const Shape& shape) {
  const std::scoped_lock lock(mutex_);
  holds_[++last_hold_] = {shape, Clock::now() + kLongestHold};
  return last_hold_;
}

void WorkerPool::shorten_hold(uint64_t hold, std::chrono::microseconds rest) {
  {
    const std::scoped_lock lock(mutex_);
    const auto found = holds_.find(hold);
    if (found == holds_.end()) return;
    found->second.until = Clock::now() + std::min<Clock::duration>(rest, kLongestHold);
    start_filler();  // which sees when that is over
  }
  changed_.notify_one();
}

void WorkerPool::end_hold(uint64_t hold) {
  {
    const std::scoped_lock lock(mutex_);
    const auto found = holds_.find(hold);
    if (found == holds_.end()) return;
    ask_to_fill(found->second.shape);
    holds_.erase(found);
  }
  changed_.notify_one();
}

// ---- taking ------------------------------------------------------------------------------------

Result<Worker> WorkerPool::start(const Shape& shape) {
  auto worker = spawner_->start_shaped(shape);
  if (worker) worker->reap_on(reactor_);
  return worker;
}

std::optional<WorkerPool::Idle> WorkerPool::take_idle(const Shape& shape) {
  const std::scoped_lock lock(mutex_);
  const auto found = stock_.find(shape);
  if (found == stock_.end() || found->second.idle.empty()) return std::nullopt;
  auto& all = found->second.idle;
  auto chosen = std::ranges::find_if(all, [](const Idle& idle) { return idle.shaped; });
  if (chosen == all.end()) chosen = all.begin();  // the one that was started first
  std::optional<Idle> idle(std::move(*chosen));
  all.erase(chosen);
  return idle;
}

// One that is just starting gets the usual priority at once, and the threads that it made meanwhile
// after that. Error vm_gone: it died while it waited.
Result<void> WorkerPool::make_ready(Idle& idle, const Limits& limits) const {
  if (idle.shaped) {
    if (!is_readable(idle.worker.control(), milliseconds(0))) return {};
    return base::fail(ErrorCode::vm_gone, "the worker has ended");
  }
  const auto pid = static_cast<pid_t>(idle.worker.pid());
  if (idle.has_low_priority) sys::set_group_nice(pid, *usual_nice_);
  auto shaped = WorkerSpawner::wait_shaped(idle.worker, limits);
  if (idle.has_low_priority) sys::set_group_nice(pid, *usual_nice_);
  return shaped;
}

Result<Worker> WorkerPool::take(const Shape& shape, const Limits& limits) {
  while (auto idle = take_idle(shape)) {
    // One that died while it waited is not worth an error.
    const auto ready = make_ready(*idle, limits);
    idle->worker.mark_pooled();
    if (ready) return std::move(idle->worker);
    if (ready.error().code != ErrorCode::vm_gone) return base::fail(ready.error());
  }
  auto worker = start(shape);
  if (!worker) return worker;
  auto shaped = WorkerSpawner::wait_shaped(*worker, limits);
  if (!shaped) return base::fail(shaped.error());
  return worker;
}

// ---- filling -----------------------------------------------------------------------------------

void WorkerPool::keep(const Shape& shape, uint32_t count) {
  const std::scoped_lock lock(mutex_);
  auto& wanted = stock_[shape].wanted;
  wanted = std::max(wanted, count);
}

bool WorkerPool::begin_start(const Shape& shape) {
  const std::scoped_lock lock(mutex_);
  if (stopped_) return false;
  Stock& stock = stock_[shape];
  if (stock.idle.size() + stock.starting >= stock.wanted) return false;
  ++stock.starting;
  return true;
}

void WorkerPool::end_start(const Shape& shape, std::optional<Idle> idle) {
  const std::scoped_lock lock(mutex_);
  Stock& stock = stock_[shape];
  --stock.starting;
  if (idle) stock.idle.push_back(std::move(*idle));
}

Result<void> WorkerPool::fill(const Shape& shape, const Limits& limits) {
  for (;;) {
    if (auto ok = limits.check("start workers"); !ok) return ok;
    if (!begin_start(shape)) return finish_started(shape, limits);
    auto worker = start(shape);
    if (!worker) {
      end_start(shape, std::nullopt);
      return base::fail(worker.error());
    }
    end_start(shape, Idle{.worker = std::move(*worker)});
  }
}

std::optional<WorkerPool::Idle> WorkerPool::take_unfinished(const Shape& shape, bool& others) {
  const std::scoped_lock lock(mutex_);
  Stock& stock = stock_[shape];
  others = stock.starting > 0;
  const auto found =
      std::ranges::find_if(stock.idle, [](const Idle& idle) { return !idle.shaped; });
  if (found == stock.idle.end()) return std::nullopt;
  std::optional<Idle> idle(std::move(*found));
  stock.idle.erase(found);
  ++stock.starting;
  return idle;
}

// Also those that the filler has begun: who waits for them gives them the usual priority.
Result<void> WorkerPool::finish_started(const Shape& shape, const Limits& limits) {
  for (bool others = true;;) {
    if (auto ok = limits.check("start workers"); !ok) return ok;
    auto idle = take_unfinished(shape, others);
    if (!idle && !others) return {};
    if (!idle) {
      std::this_thread::sleep_for(milliseconds(1));  // as long as a process takes to begin
      continue;
    }
    const auto ready = make_ready(*idle, limits);
    idle->shaped = ready.has_value();
    // It is kept where only the caller has given up: a worker answers once, and one that has
    // refused or is stuck is of no use to anybody.
    const bool gave_up = !limits.check("start workers");
    end_start(shape, ready || gave_up ? std::move(idle) : std::nullopt);
    if (!ready) return ready;
  }
}

void WorkerPool::fill_in_background(const Shape& shape) {
  {
    const std::scoped_lock lock(mutex_);
    ask_to_fill(shape);
  }
  changed_.notify_one();
}

void WorkerPool::ask_to_fill(const Shape& shape) {
  const auto stock = stock_.find(shape);
  if (stopped_ || stock == stock_.end() || stock->second.wanted == 0) return;
  if (to_fill_.empty()) waits_since_ = Clock::now();
  to_fill_.insert(shape);
  start_filler();
}

// Without the thread nothing is kept, and each run() starts what it needs.
void WorkerPool::start_filler() {
  const bool keeps_any =
      std::ranges::any_of(stock_, [](const auto& stock) { return stock.second.wanted > 0; });
  if (stopped_ || filler_.joinable() || !keeps_any) return;
  auto thread = start_thread([this] { run_filler(); }, kFilling);
  if (thread) filler_ = std::move(*thread);
}

void WorkerPool::end_old_holds() {
  const auto now = Clock::now();
  for (auto hold = holds_.begin(); hold != holds_.end();) {
    if (hold->second.until > now) {
      ++hold;
      continue;
    }
    ask_to_fill(hold->second.shape);
    hold = holds_.erase(hold);
  }
}

// Who starts without a pause finds the pool filled at last.
std::optional<WorkerPool::Clock::time_point> WorkerPool::filling_waits_until() const {
  if (holds_.empty()) return std::nullopt;
  auto until = Clock::time_point::max();
  for (const auto& [number, hold] : holds_) until = std::min(until, hold.until);
  if (!to_fill_.empty()) until = std::min(until, waits_since_ + kLongestHold);
  return until;
}

void WorkerPool::run_filler() {
  const bool may_be_slow = priority_comes_back();
  std::unique_lock lock(mutex_);
  if (may_be_slow) usual_nice_ = sys::own_nice();
  while (!stopped_) {
    end_old_holds();
    const auto until = filling_waits_until();
    if (until && (to_fill_.empty() || *until > Clock::now())) {
      changed_.wait_until(lock, *until);
    } else if (to_fill_.empty()) {
      changed_.wait(lock);
    } else {
      fill_one(lock, *to_fill_.begin());
    }
  }
}

void WorkerPool::fill_one(std::unique_lock<std::mutex>& lock, const Shape& shape) {
  const Shape wanted = shape;
  const Stock& stock = stock_[wanted];
  if (stock.idle.size() + stock.starting >= stock.wanted) {
    to_fill_.erase(wanted);
    return;
  }
  lock.unlock();
  const auto filled = start_one(wanted);
  lock.lock();
  if (!filled) to_fill_.erase(wanted);  // the next start asks again
  tell(lock, filled);
}

// Without the lock: nobody is to wait for a thread of little priority.
Result<Worker> WorkerPool::start_slowly(const Shape& shape) {
  // Asked each time: the process may have given up the right to raise it since.
  if (!usual_nice_ || !priority_comes_back()) return start(shape);
  sys::set_own_nice(sys::kLowestPriority);
  auto worker = start(shape);
  sys::set_own_nice(*usual_nice_);
  return worker;
}

Result<void> WorkerPool::start_one(const Shape& shape) {
  if (!begin_start(shape)) return {};
  auto worker = start_slowly(shape);
  auto control = worker ? sys::duplicate(worker->control(), std::string(kFilling))
                        : Result<base::Fd>(base::fail(worker.error()));
  if (!control) {
    end_start(shape, std::nullopt);
    return base::fail(control.error());
  }
  const uint32_t pid = worker->pid();
  end_start(shape, Idle{.worker = std::move(*worker), .has_low_priority = usual_nice_.has_value()});
  return settle(shape, pid, *control);
}

std::list<WorkerPool::Idle>::iterator WorkerPool::find_idle(Stock& stock, uint32_t pid) {
  return std::ranges::find_if(stock.idle,
                              [pid](const Idle& idle) { return idle.worker.pid() == pid; });
}

// Until it has shaped itself, so that it waits with the usual priority, or was taken.
Result<void> WorkerPool::settle(const Shape& shape, uint32_t pid, const base::Fd& control) {
  const auto deadline = Clock::now() + kSettleLimit;
  for (;;) {
    const bool answered = is_readable(control.get(), kLookAgain);
    std::list<Idle> broken;  // ended without the lock
    const std::scoped_lock lock(mutex_);
    Stock& stock = stock_[shape];
    const auto idle = find_idle(stock, pid);
    if (idle == stock.idle.end() || stopped_) return {};
    if (!answered && Clock::now() < deadline) continue;
    auto ready = make_ready(*idle, Limits::at_once());
    idle->shaped = ready.has_value();
    if (!ready) broken.splice(broken.end(), stock.idle, idle);
    return ready;
  }
}

void WorkerPool::tell(std::unique_lock<std::mutex>& lock, const Result<void>& filled) {
  const std::string trouble = filled ? "" : filled.error().message;
  if (trouble == trouble_) return;
  trouble_ = trouble;
  if (filled || !on_trouble_) return;
  lock.unlock();
  on_trouble_({filled.error().code, std::string(kFilling) + ": " + trouble});
  lock.lock();
}

void WorkerPool::stop() {
  std::thread filler;
  {
    const std::scoped_lock lock(mutex_);
    stopped_ = true;
    filler.swap(filler_);
  }
  changed_.notify_all();
  if (filler.joinable()) filler.join();
}

}  // namespace microvm::host
