// Worker processes: the embedded program, started over a control socket, shaped, pooled.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/fd.hpp"
#include "host/base/limits.hpp"
#include "host/worker/child_process.hpp"
#include "host/worker/reactor.hpp"
#include "sys/process.hpp"

namespace microvm::host {

// What a worker is made for before it is known which Vm it will hold.
struct Shape {
  uint64_t memory_bytes = 0;
  uint16_t vcpus = 1;
  uint16_t disks = 1;
  auto operator<=>(const Shape&) const = default;
};

// One child process. Its destructor kills and reaps it, unless it was let go.
class Worker {
 public:
  Worker(sys::Process process, base::Fd control);
  Worker(Worker&&) noexcept = default;
  Worker& operator=(Worker&&) = delete;
  ~Worker();

  [[nodiscard]] int control() const { return control_.get(); }
  [[nodiscard]] base::Fd take_control() { return std::move(control_); }
  [[nodiscard]] uint32_t pid() const { return static_cast<uint32_t>(process_->pid()); }
  // Its end then leaves no zombie, whoever looks or does not.
  void reap_on(Reactor& reactor) { process_->reap_on(reactor); }
  // Waits for the end, then kills; "" or how it died by a signal that was not ours.
  std::string end(std::chrono::milliseconds patience);
  // The worker may outlive this process: its next parent reaps it when it does.
  void let_go() { process_.reset(); }

 private:
  std::shared_ptr<ChildProcess> process_;
  base::Fd control_;
};

// Starts workers of one Runtime: program and /dev/kvm are each opened at the first need.
class WorkerSpawner {
 public:
  // A worker that was told to shape itself; its reply is still to be read.
  Result<Worker> start_shaped(const Shape& shape);
  // Makes one disk layer of two neighbouring ones (wire::MergeRequest), in a worker of its own: a
  // layer is written by a guest. `lower` is opened O_RDWR, `upper` O_RDONLY.
  Result<void> merge_layers(int lower, int upper, const Limits& limits);
  // Whether stock kernels run here. Errors: kvm_unavailable, kvm_unsuitable.
  Result<void> probe(const Limits& limits);

 private:
  Result<Worker> start();
  Result<int> program();
  Result<int> kvm();

  std::mutex mutex_;
  base::Fd program_;
  base::Fd kvm_;
};

// Opens /dev/kvm. Error kvm_unavailable, with what to do about it.
Result<base::Fd> open_kvm();

inline constexpr uint32_t kShapeRequestId = 1;

// Shaped workers waiting for a Vm. Thread-safe. Held by shared_ptr only.
class WorkerPool : public std::enable_shared_from_this<WorkerPool> {
 public:
  WorkerPool(std::shared_ptr<WorkerSpawner> spawner, Reactor& reactor)
      : spawner_(std::move(spawner)), reactor_(reactor) {}

  // A worker whose shape is done: from the pool, else started now.
  Result<Worker> take(const Shape& shape, const Limits& limits);
  // Keeps at least `count` workers of the shape from now on.
  void keep(const Shape& shape, uint32_t count);
  // Starts what is missing, on the caller's thread.
  Result<void> fill(const Shape& shape);
  // The same, later, on the reactor's thread.
  void fill_in_background(const Shape& shape);

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

  std::shared_ptr<WorkerSpawner> spawner_;
  Reactor& reactor_;
  std::mutex mutex_;
  std::map<Shape, Stock> stock_;
};

}  // namespace microvm::host
