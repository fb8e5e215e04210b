// Worker processes: the embedded program, started over a control socket and shaped.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include "base/fd.hpp"
#include "host/base/limits.hpp"
#include "host/worker/child_process.hpp"
#include "host/worker/reactor.hpp"
#include "sys/fd_places.hpp"
#include "sys/process.hpp"
#include "wire/control.hpp"
#include "wire/shape.hpp"

namespace microvm::host {

using wire::Shape;  // what a worker is made for before it is known which Vm it will hold

// One child process. Its destructor kills and reaps it, unless it was let go.
class Worker {
 public:
  Worker(sys::Process process, base::Fd control);
  Worker(Worker&&) noexcept = default;
  Worker& operator=(Worker&&) = delete;
  ~Worker();

  [[nodiscard]] int control() const { return control_.get(); }
  [[nodiscard]] base::Fd take_control() { return std::move(control_); }
  // Of one with a network device: where what starts its network waits for the Vm's directory.
  void keep_home(base::Fd home) { home_ = std::move(home); }
  [[nodiscard]] base::Fd take_home() { return std::move(home_); }
  // It was started before it was needed.
  [[nodiscard]] bool pooled() const { return pooled_; }
  void mark_pooled() { pooled_ = true; }
  [[nodiscard]] uint32_t pid() const { return static_cast<uint32_t>(process_->pid()); }
  // Its end then leaves no zombie, whoever looks or does not.
  void reap_on(Reactor& reactor) { process_->reap_on(reactor); }
  // Waits for the end, then kills; "" or how it died by a signal that was not ours. Any thread, as
  // often as one likes.
  std::string end(std::chrono::milliseconds patience);
  // The worker may outlive this process: its next parent reaps it when it does.
  void let_go() { process_.reset(); }

 private:
  std::shared_ptr<ChildProcess> process_;
  base::Fd control_;
  base::Fd home_;
  bool pooled_ = false;
};

// Starts workers of one Runtime: programs and /dev/kvm are each opened at the first need.
class WorkerSpawner {
 public:
  // `directory`: for the programs, where the host lets none be in memory. Empty: nowhere.
  explicit WorkerSpawner(std::string directory = {}) : directory_(std::move(directory)) {}

  // A worker that was told to shape itself; its reply is still to be read, see wait_shaped().
  Result<Worker> start_shaped(const Shape& shape);
  // Until it has shaped itself. Errors: vm_gone (it died), the worker's own.
  static Result<void> wait_shaped(const Worker& worker, const Limits& limits);
  // Makes one disk layer of two neighbouring ones (wire::MergeRequest), in a worker of its own: a
  // layer is written by a guest. `lower` is opened O_RDWR, `upper` O_RDONLY.
  Result<void> merge_layers(int lower, int upper, const Limits& limits);
  // Whether stock kernels run here. Errors: kvm_unavailable, kvm_unsuitable.
  Result<void> probe(const Limits& limits);
  // One tiny guest with so many vCPUs (wire::SmpProbeRequest).
  Result<wire::SmpProbeReply> probe_smp(uint16_t vcpus, std::chrono::milliseconds time,
                                        const Limits& limits);

 private:
  Result<Worker> start();
  Result<int> program();
  Result<int> net_program();
  Result<int> kvm();

  const std::string directory_;
  std::mutex mutex_;
  base::Fd program_;
  base::Fd net_program_;
  base::Fd kvm_;
  sys::FdPlaces places_;  // for the workers' ends of their control sockets
};

// Opens /dev/kvm. Error kvm_unavailable, with what to do about it.
Result<base::Fd> open_kvm();

}  // namespace microvm::host
