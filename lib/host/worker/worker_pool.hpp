// Shaped workers waiting for a Vm.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "host/worker/worker.hpp"

namespace microvm::host {

class WorkerPool;

// Of a worker that is taken: as long as this is there nothing is filled in, for a bounded time, and
// when it goes the pool gets another worker, whatever has become of this one.
class PoolRefill {
 public:
  PoolRefill(WorkerPool& pool, const Shape& shape);
  PoolRefill(PoolRefill&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)), hold_(other.hold_) {}
  PoolRefill& operator=(PoolRefill&&) = delete;
  ~PoolRefill();

  // The guest is there, after so long. It may take as long again to do something that somebody
  // waits for.
  void guest_is_ready(std::chrono::microseconds took) const;

 private:
  WorkerPool* pool_;
  uint64_t hold_;
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

  // Before all else: who is told what keeps it from being full, by the pool's own thread; once, as
  // long as it is the same.
  using OnTrouble = std::function<void(const Error&)>;
  void on_trouble(OnTrouble tell) { on_trouble_ = std::move(tell); }

  // A worker whose shape is done: from the pool, else started now.
  Result<Worker> take(const Shape& shape, const Limits& limits);
  // Keeps at least `count` workers of the shape from now on.
  void keep(const Shape& shape, uint32_t count);
  // Starts what is missing, on the caller's thread, and returns when all have shaped themselves.
  // What was started before an error stays.
  Result<void> fill(const Shape& shape, const Limits& limits = Limits({}));
  // The same, later, on the pool's own thread, which the first call starts: starting a process
  // takes milliseconds, which neither the caller's exec nor the reactor's replies shall wait for.
  // It is done between starts (PoolRefill), at the lowest priority where what has it can be given
  // back the usual one; who takes a worker that is just starting gives it that.
  void fill_in_background(const Shape& shape);
  // Waits for what is just being started in the background; nothing is from then on.
  void stop();

  // No start is waited for longer than this, nor one guest's first answer.
  static constexpr std::chrono::seconds kLongestHold{1};

 private:
  friend class PoolRefill;
  using Clock = std::chrono::steady_clock;
  struct Idle {
    Worker worker;
    bool shaped = false;
    bool has_low_priority = false;
  };
  struct Stock {
    uint32_t wanted = 0;
    uint32_t starting = 0;
    std::list<Idle> idle;
  };
  struct Hold {
    Shape shape;
    Clock::time_point until;
  };
  Result<Worker> start(const Shape& shape);
  Result<Worker> start_slowly(const Shape& shape);
  std::optional<Idle> take_idle(const Shape& shape);
  Result<void> make_ready(Idle& idle, const Limits& limits) const;
  std::optional<Idle> take_unfinished(const Shape& shape, bool& others);
  Result<void> finish_started(const Shape& shape, const Limits& limits);
  bool begin_start(const Shape& shape);
  void end_start(const Shape& shape, std::optional<Idle> idle);

  uint64_t add_hold(const Shape& shape);
  void shorten_hold(uint64_t hold, std::chrono::microseconds rest);
  void end_hold(uint64_t hold);

  // The pool's own thread; with mutex_ held where they are given the lock.
  void run_filler();
  void ask_to_fill(const Shape& shape);
  void start_filler();
  void end_old_holds();
  [[nodiscard]] std::optional<Clock::time_point> filling_waits_until() const;
  void fill_one(std::unique_lock<std::mutex>& lock, const Shape& shape);
  Result<void> start_one(const Shape& shape);
  Result<void> settle(const Shape& shape, uint32_t pid, const base::Fd& control);
  static std::list<Idle>::iterator find_idle(Stock& stock, uint32_t pid);
  void tell(std::unique_lock<std::mutex>& lock, const Result<void>& filled);

  std::shared_ptr<WorkerSpawner> spawner_;
  Reactor& reactor_;
  OnTrouble on_trouble_;
  std::mutex mutex_;  // of what follows
  std::map<Shape, Stock> stock_;
  std::set<Shape> to_fill_;
  Clock::time_point waits_since_;  // the first of to_fill_
  std::map<uint64_t, Hold> holds_;
  uint64_t last_hold_ = 0;
  std::string trouble_;  // that was told
  std::condition_variable changed_;
  bool stopped_ = false;
  std::thread filler_;
  std::optional<int> usual_nice_;  // of what the filler starts; none: it keeps its priority
};

}  // namespace microvm::host
