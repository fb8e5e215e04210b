#include "host/worker/worker_pool.hpp"

#include <algorithm>
#include <utility>

#include "host/base/thread.hpp"

namespace microvm::host {

PoolRefill::~PoolRefill() {
  if (pool_ != nullptr) pool_->fill_in_background(shape_);
}

Result<Worker> WorkerPool::start(const Shape& shape) {
  auto worker = spawner_->start_shaped(shape);
  if (worker) worker->reap_on(reactor_);
  return worker;
}

std::optional<Worker> WorkerPool::take_idle(const Shape& shape) {
  const std::scoped_lock lock(mutex_);
  const auto found = stock_.find(shape);
  if (found == stock_.end() || found->second.idle.empty()) return std::nullopt;
  std::optional<Worker> worker(std::move(found->second.idle.back()));
  found->second.idle.pop_back();
  return worker;
}

Result<Worker> WorkerPool::take(const Shape& shape, const Limits& limits) {
  while (auto idle = take_idle(shape)) {
    // One that died while it waited is not worth an error.
    const auto shaped = WorkerSpawner::wait_shaped(*idle, limits);
    if (shaped) return std::move(*idle);
    if (shaped.error().code != ErrorCode::vm_gone) return base::fail(shaped.error());
  }
  auto worker = start(shape);
  if (!worker) return worker;
  auto shaped = WorkerSpawner::wait_shaped(*worker, limits);
  if (!shaped) return base::fail(shaped.error());
  return worker;
}

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

void WorkerPool::end_start(const Shape& shape, std::optional<Worker> worker) {
  const std::scoped_lock lock(mutex_);
  Stock& stock = stock_[shape];
  --stock.starting;
  if (worker) stock.idle.push_back(std::move(*worker));
}

Result<void> WorkerPool::fill(const Shape& shape, const Limits& limits) {
  for (;;) {
    if (auto ok = limits.check("start workers"); !ok) return ok;
    if (!begin_start(shape)) return {};
    auto worker = start(shape);
    if (!worker) {
      end_start(shape, std::nullopt);
      return base::fail(worker.error());
    }
    end_start(shape, std::move(*worker));
  }
}

// A failure, of the thread or of a worker, shows again with its reason in the run() that finds the
// pool empty.
void WorkerPool::fill_in_background(const Shape& shape) {
  {
    const std::scoped_lock lock(mutex_);
    const auto stock = stock_.find(shape);
    if (stopped_ || stock == stock_.end() || stock->second.wanted == 0) return;
    to_fill_.insert(shape);
    if (!filler_.joinable()) {
      auto thread = start_thread([this] { run_filler(); }, "fill the pool");
      if (thread) filler_ = std::move(*thread);
    }
  }
  changed_.notify_one();
}

void WorkerPool::run_filler() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopped_ || !to_fill_.empty(); });
    if (stopped_) return;
    const Shape shape = to_fill_.extract(to_fill_.begin()).value();
    lock.unlock();
    [[maybe_unused]] const auto filled = fill(shape);
    lock.lock();
  }
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
