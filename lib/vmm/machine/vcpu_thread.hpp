// The thread of one vCPU. It is made parked, so that starting a machine only wakes it, and it is
// the only thread that ever enters the guest. A machine that may grow has more of them than vCPUs:
// where no thread can be made any more (control/jail.hpp), a vCPU still can.
#pragma once

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "base/error.hpp"
#include "vmm/kvm/vcpu.hpp"

namespace microvm::vmm {

class VcpuThread {
 public:
  // Runs on the vCPU's thread for every exit that is not an interruption; false: the vCPU must not
  // run any further, it parks.
  using ExitHandler = std::function<bool(kvm::Exit&)>;
  // Runs on the vCPU's thread whenever it has parked.
  using Parked = std::function<void()>;

  static Result<std::unique_ptr<VcpuThread>> start(uint32_t index, ExitHandler handler,
                                                   Parked parked);
  // Stops and joins. The exit handler must not be blocked for good.
  ~VcpuThread();
  VcpuThread(const VcpuThread&) = delete;
  VcpuThread& operator=(const VcpuThread&) = delete;

  // Gives it what it is for, once and before all that follows. Until then it stays parked.
  void adopt(kvm::Vcpu vcpu) { vcpu_.emplace(std::move(vcpu)); }

  // Registers and state: only while parked(), and to save them after settle().
  [[nodiscard]] kvm::Vcpu& vcpu() noexcept { return *vcpu_; }

  void run();
  // Before its state is saved: a parked vCPU that has not run since its registers were set, or that
  // its handler has stopped, enters KVM once without executing anything; wait_parked() says when
  // that is done. Another thread than its own would cost a grace period each time.
  void settle();
  // Asks the vCPU to park. An access it reported is finished first, so its registers are whole.
  void request_park();
  [[nodiscard]] bool parked() const;
  // False: still running after `limit`.
  [[nodiscard]] bool wait_parked(std::chrono::milliseconds limit) const;

  [[nodiscard]] uint64_t exits() const { return exits_.load(std::memory_order_relaxed); }
  // When the guest was entered for the first time; the epoch when it was not.
  [[nodiscard]] std::chrono::steady_clock::time_point first_run() const {
    return first_run_.load();
  }

 private:
  enum class Wanted : uint8_t { park, run, end };

  VcpuThread(uint32_t index, ExitHandler handler, Parked parked);
  static void* thread_main(void* self);
  void loop();
  [[nodiscard]] bool wait_for_work();
  [[nodiscard]] bool run_guest();
  [[nodiscard]] bool run_to_interruption();
  void interrupt();

  std::optional<kvm::Vcpu> vcpu_;
  const uint32_t index_;
  const ExitHandler handler_;
  const Parked on_parked_;
  pthread_t thread_{};
  bool joinable_ = false;

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::atomic<Wanted> wanted_{Wanted::park};  // written with the mutex held
  bool is_parked_ = true;
  bool is_settled_ = false;  // KVM has all of the vCPU's state

  std::atomic<uint64_t> exits_{0};
  std::atomic<std::chrono::steady_clock::time_point> first_run_{};
};

}  // namespace microvm::vmm
