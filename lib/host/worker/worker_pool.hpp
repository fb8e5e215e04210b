// Shaped workers waiting for a Vm.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "host/worker/worker.hpp"

namespace microvm::host {

class WorkerPool;

// Of a worker that was taken: the pool gets another one in its place when this goes, whatever has
// become of it.
class PoolRefill {
 public:
  PoolRefill(WorkerPool& pool, const Shape& shape) : pool_(&pool), shape_(shape) {}
  PoolRefill(PoolRefill&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)), shape_(other.shape_) {}
  PoolRefill& operator=(PoolRefill&&) = delete;
  ~PoolRefill();

 private:
  WorkerPool* pool_;
  Shape shape_;
};

// Thread-safe.
class WorkerPool {
 public:
  // `reactor` reaps the workers and must outlive stop().
  WorkerPool(std::shared_ptr<WorkerSpawner> spawner, Reactor& reactor)
      : spawner_(std::move(spawner)), reactor_(reactor) {}
  ~WorkerPool() { stop(); }
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // A worker whose shape is done: from the pool, else started now.
  Result<Worker> take(const Shape& shape, const Limits& limits);
  // Keeps at least `count` workers of the shape from now on.
  void keep(const Shape& shape, uint32_t count);
  // Starts what is missing, on the caller's thread. What was started before an error stays.
  Result<void> fill(const Shape& shape, const Limits& limits = Limits({}));
  // The same, later, on the pool's own thread, which the first call starts: starting a process
  // takes milliseconds, which neither the caller's exec nor the reactor's replies shall wait for.
  void fill_in_background(const Shape& shape);
  // Waits for what is just being started in the background; nothing is from then on.
  void stop();

 private:
  struct Stock {
    uint32_t wanted = 0;
    uint32_t starting = 0;
    std::vector<Worker> idle;
  };
  Result<Worker> start(const Shape& shape);
  std::optional<Worker> take_idle(const Shape& shape);
  bool begin_start(const Shape& shape);
  void end_start(const Shape& shape, std::optional<Worker> worker);
  void run_filler();

  std::shared_ptr<WorkerSpawner> spawner_;
  Reactor& reactor_;
  std::mutex mutex_;  // of what follows
  std::map<Shape, Stock> stock_;
  std::set<Shape> to_fill_;
  std::condition_variable changed_;
  bool stopped_ = false;
  std::thread filler_;
};

}  // namespace microvm::host
