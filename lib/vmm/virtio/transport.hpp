// How a guest's driver reaches a device: status, features, queues and interrupts. All that does not
// depend on where the driver finds the registers is here; a subclass has them (mmio_transport.hpp)
// and the interrupts. What is above (machine, snapshot) does not know which one a device has.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "base/log.hpp"
#include "state/sections.hpp"
#include "sys/loop.hpp"
#include "vmm/memory/guest_memory.hpp"
#include "vmm/virtio/device.hpp"
#include "vmm/virtio/queue.hpp"
#include "vmm/virtio/status.hpp"
#include "vmm/virtio/transport_state.hpp"

namespace microvm::vmm {

class Transport : private DeviceHost {
 public:
  // Drain first (pause() until idle()): in-flight I/O reads and writes guest memory.
  virtual ~Transport();

  // The guest's accesses to the transport's registers, on any vCPU thread. Accesses no driver makes
  // read as zero and are ignored when written. A reset with I/O in flight waits for it up to
  // kResetDeadline, so whoever pauses vCPU threads keeps the loop running meanwhile.
  static constexpr std::chrono::milliseconds kResetDeadline{2000};
  virtual void read(uint64_t offset, std::span<std::byte> data) = 0;
  virtual void write(uint64_t offset, std::span<const std::byte> data) = 0;

  // The rest is for the loop's thread.
  void kick(uint16_t queue);

  // Takes no new work from the queues. idle() becomes true when everything in flight is done and
  // visible to the driver.
  void pause();
  [[nodiscard]] bool idle() const;
  // Looks at every queue: kicks may have been lost. After a restore, too.
  void resume();
  void flush(Device::FlushDone done);

  // The transport's and the device's section. vCPUs stopped, paused, idle (error busy).
  Result<void> save(state::Writer& out, uint32_t instance) const;
  // On a new transport, memory in place; ends paused. Errors: corrupt, unsupported.
  Result<void> restore(const state::Reader& in, uint32_t instance);

  [[nodiscard]] bool needs_reset() const;
  [[nodiscard]] Device& device() noexcept { return *device_; }

 protected:
  // `memory` and `loop` outlive the transport.
  Transport(GuestMemory& memory, sys::Loop& loop, std::unique_ptr<Device> device,
            base::LogSink log);

  // ---- what a subclass does; always with the mutex held ----------------------------------------
  // The driver wants to know of used buffers; interrupt_status_ is the subclass's to set.
  virtual void interrupt_used(uint16_t queue) = 0;
  virtual void interrupt_config() = 0;
  // The machine runs (on): an interrupt from before may have been lost.
  virtual void repeat_interrupts() = 0;
  // What it has of its own. After a reset of the device, and in the sections beside the common one.
  virtual void reset_registers() {}
  virtual void save_registers(state::Writer&, uint32_t) const {}
  [[nodiscard]] virtual Result<void> restore_registers(const state::Reader&, uint32_t) {
    return {};
  }

  // ---- what registers do, with the mutex held (transport_registers.cpp) ------------------------
  [[nodiscard]] std::unique_lock<std::mutex> lock() override { return std::unique_lock(mutex_); }
  // 32 of the bits each.
  [[nodiscard]] uint32_t device_features() const;
  [[nodiscard]] uint32_t driver_features() const;
  void write_driver_features(uint32_t value);
  // Zero resets the device, and may give up the mutex for as long as that waits.
  void write_status(std::unique_lock<std::mutex>& guard, uint32_t value);
  void read_config(uint64_t offset, std::span<std::byte> data) const;
  // The selected queue; null: there is none.
  [[nodiscard]] const Queue* selected() const;
  // What the driver says of it; null when it may not say anything now.
  [[nodiscard]] QueueSetup* setup_of_selected();
  void enable_selected();
  void stop_selected();
  // Where no doorbell took it, on any thread.
  void post_kick(uint16_t queue) { post(&Transport::kick, queue); }

  [[nodiscard]] bool has_status(uint32_t bits) const { return (state_.status & bits) == bits; }
  [[nodiscard]] uint16_t queue_count() const { return static_cast<uint16_t>(queues_.size()); }
  [[nodiscard]] const Queue& queue(uint16_t index) const { return queues_[index]; }

  mutable std::mutex mutex_;
  std::atomic<uint32_t> interrupt_status_{0};  // read and acknowledged without the mutex
  TransportState state_;

 private:
  bool pop(uint16_t queue, Chain& chain) override;
  void put_back(uint16_t queue, uint16_t head) override;
  [[nodiscard]] uint16_t made_available(uint16_t queue) const override;
  void push(uint16_t queue, uint16_t head, uint32_t written_bytes) override;
  void publish(uint16_t queue) override;
  void publish_soon(uint16_t queue) override;
  void fail(std::string_view reason) override;
  void config_changed() override;
  [[nodiscard]] bool has_feature(uint64_t feature) const override;

  void add_status(uint32_t value);
  [[nodiscard]] bool accept_features() const;
  void start_driver();
  [[nodiscard]] bool start_queues();
  void reset(std::unique_lock<std::mutex>& guard);
  void finish_reset();
  [[nodiscard]] uint64_t offered_features() const;
  [[nodiscard]] bool live() const;   // queues are served
  [[nodiscard]] bool quiet() const;  // no chain is in flight
  void serve(uint16_t queue);
  void stop_queue(uint16_t queue);
  void finish_stop(uint16_t queue);
  void publish_posted(uint16_t queue);
  // transport_pace.cpp
  [[nodiscard]] bool kicks_can_wait(uint16_t queue) const;
  [[nodiscard]] bool interrupt_can_wait(uint16_t queue) const;
  void look_later(uint16_t queue);
  void look_posted(uint16_t queue);
  void end_pace(uint16_t queue);
  void reset_posted(uint16_t);
  void post(void (Transport::*call)(uint16_t), uint16_t queue);
  [[nodiscard]] Result<void> check(const TransportState& state) const;

  GuestMemory& memory_;
  sys::Loop& loop_;
  const base::LogSink log_;
  const std::unique_ptr<Device> device_;

  std::condition_variable quiet_changed_;
  std::vector<Queue> queues_;
  std::vector<uint8_t> publish_pending_;
  std::vector<std::optional<sys::Loop::TimerId>> looks_;  // see transport_pace.cpp
  std::vector<uint8_t> stopping_;  // the driver wants it stopped, and some of it is in flight
  bool paused_ = false;
  bool resetting_ = false;
  int serving_ = -1;      // the queue of the kick that runs
  uint32_t budget_ = 0;   // chains it may still take
  bool refused_ = false;  // one was kept from the device for want of that
  uint32_t failures_ = 0;
  std::shared_ptr<Transport*> self_;  // emptied by the destructor: what the loop still holds
};

}  // namespace microvm::vmm
