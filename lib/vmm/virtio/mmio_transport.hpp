// virtio over MMIO, the modern register file (virtio 1.2 §4.2.2): status, features, queues and
// interrupts of one device.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/log.hpp"
#include "sys/loop.hpp"
#include "vmm/memory/guest_memory.hpp"
#include "vmm/virtio/irq.hpp"
#include "vmm/virtio/mmio_state.hpp"
#include "vmm/virtio/queue.hpp"
#include "vmm/virtio/transport.hpp"

namespace microvm::vmm {

class MmioTransport final : public Transport, private DeviceHost {
 public:
  static constexpr uint64_t kRegionBytes = 0x1000;
  static constexpr uint64_t kQueueNotifyOffset = 0x50;  // ioeventfd: u32, datamatch queue index

  // `memory`, `loop` and `irq` outlive the transport. The irq is raised like an edge.
  MmioTransport(GuestMemory& memory, sys::Loop& loop, Irq& irq, std::unique_ptr<Device> device,
                base::LogSink log);
  ~MmioTransport() override;

  void read(uint64_t offset, std::span<std::byte> data) override;
  void write(uint64_t offset, std::span<const std::byte> data) override;
  void kick(uint16_t queue) override;
  void pause() override;
  [[nodiscard]] bool idle() const override;
  void resume() override;
  void flush(Device::FlushDone done) override;
  Result<void> save(state::Writer& out, uint32_t instance) const override;
  Result<void> restore(const state::Reader& in, uint32_t instance) override;
  [[nodiscard]] bool needs_reset() const override;
  [[nodiscard]] Device& device() noexcept override { return *device_; }

 private:
  std::unique_lock<std::mutex> lock() override { return std::unique_lock(mutex_); }
  bool pop(uint16_t queue, Chain& chain) override;
  [[nodiscard]] uint16_t made_available(uint16_t queue) const override;
  void push(uint16_t queue, uint16_t head, uint32_t written_bytes) override;
  void publish(uint16_t queue) override;
  void publish_soon(uint16_t queue) override;
  void fail(std::string_view reason) override;
  void config_changed() override;
  [[nodiscard]] bool has_feature(uint64_t feature) const override;

  // mmio_registers.cpp
  [[nodiscard]] uint32_t read_register(uint64_t offset);
  [[nodiscard]] uint32_t read_queue_register(uint64_t offset) const;
  void write_register(std::unique_lock<std::mutex>& guard, uint64_t offset, uint32_t value);
  void write_queue_register(uint64_t offset, uint32_t value);
  void write_driver_features(uint32_t value);
  void write_status(uint32_t value);
  void read_config(uint64_t offset, std::span<std::byte> data) const;
  [[nodiscard]] bool accept_features() const;
  [[nodiscard]] bool has_status(uint32_t bits) const { return (state_.status & bits) == bits; }

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
  void reset_posted(uint16_t);
  void post(void (MmioTransport::*call)(uint16_t), uint16_t queue);
  void raise(uint32_t reason);
  [[nodiscard]] Result<void> check(const MmioState& state) const;

  GuestMemory& memory_;
  sys::Loop& loop_;
  Irq& irq_;
  const base::LogSink log_;
  const std::unique_ptr<Device> device_;

  mutable std::mutex mutex_;
  std::condition_variable quiet_changed_;
  std::atomic<uint32_t> interrupt_status_{0};  // read and acknowledged without the mutex
  MmioState state_;
  std::vector<Queue> queues_;
  std::vector<uint8_t> publish_pending_;
  std::vector<uint8_t> stopping_;  // the driver wants it stopped, and some of it is in flight
  bool paused_ = false;
  bool resetting_ = false;
  int serving_ = -1;     // the queue of the kick that runs
  uint32_t budget_ = 0;  // chains it may still take
  uint32_t failures_ = 0;
  std::shared_ptr<MmioTransport*> self_;  // emptied by the destructor: what the loop still holds
};

}  // namespace microvm::vmm
