// Where the guest's message interrupts go, all of a machine's in one table: KVM takes only whole
// ones, and each time waits for an RCU grace period, which is milliseconds on a busy host. So a new
// message is sent by an ioctl of its own for as long as it takes: the table follows on the loop's
// thread once the guest has run for a while, and costs neither a restore nor a vCPU anything.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/error.hpp"
#include "base/log.hpp"
#include "sys/loop.hpp"
#include "vmm/kvm/vm.hpp"
#include "vmm/virtio/msix.hpp"

namespace microvm::vmm {

class MsiRoutes {
 public:
  static constexpr std::chrono::milliseconds kSettleTime{50};

  // `vm` and `loop` outlive it. A machine has so many messages.
  MsiRoutes(kvm::Vm& vm, sys::Loop& loop, base::LogSink log, size_t messages);
  // On the loop's thread, as apply_soon().
  ~MsiRoutes();
  MsiRoutes(const MsiRoutes&) = delete;
  MsiRoutes& operator=(const MsiRoutes&) = delete;

  // KVM's number for a message: what an irqfd is made for. Nothing that a guest or a snapshot
  // knows.
  [[nodiscard]] static uint32_t gsi(size_t index);

  // Any thread. What is no interrupt's address goes nowhere.
  void set(size_t index, const MsiMessage& message);
  // Any thread: whether the irqfd of this message is one now; until then send() does it.
  [[nodiscard]] bool in_table(size_t index) const { return messages_[index].in_table; }
  void send(size_t index) noexcept;

  // The machine runs (on): what was set before gets into the table in kSettleTime.
  void apply_soon();

 private:
  struct Entry {
    std::optional<MsiMessage> message;
    std::atomic<bool> in_table{false};
  };
  void apply();

  kvm::Vm& vm_;
  sys::Loop& loop_;
  const base::LogSink log_;
  std::mutex mutex_;
  std::vector<Entry> messages_;  // of a fixed size
  bool changed_ = false;
  bool is_running_ = false;
  bool is_posted_ = false;
  std::optional<sys::Loop::TimerId> timer_;  // the loop's thread
  std::shared_ptr<MsiRoutes*> self_;         // emptied by the destructor: what the loop still holds
};

}  // namespace microvm::vmm
