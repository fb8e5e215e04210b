// virtio over MMIO, the modern register file (virtio 1.2 §4.2.2), with one interrupt for all.
#pragma once

#include "vmm/virtio/irq.hpp"
#include "vmm/virtio/transport.hpp"

namespace microvm::vmm {

class MmioTransport final : public Transport {
 public:
  static constexpr uint64_t kRegionBytes = 0x1000;
  static constexpr uint64_t kQueueNotifyOffset = 0x50;  // ioeventfd: u32, datamatch queue index

  // `memory`, `loop` and `irq` outlive the transport. The irq is raised like an edge.
  MmioTransport(GuestMemory& memory, sys::Loop& loop, Irq& irq, std::unique_ptr<Device> device,
                base::LogSink log);

  void read(uint64_t offset, std::span<std::byte> data) override;
  void write(uint64_t offset, std::span<const std::byte> data) override;

 private:
  void interrupt_used(uint16_t queue) override;
  void interrupt_config() override;
  void repeat_interrupts() override;

  [[nodiscard]] uint32_t read_register(uint64_t offset) const;
  [[nodiscard]] uint32_t read_queue_register(uint64_t offset) const;
  void write_register(std::unique_lock<std::mutex>& guard, uint64_t offset, uint32_t value);
  void write_queue_register(uint64_t offset, uint32_t value);
  void raise(uint32_t reason);

  Irq& irq_;
};

}  // namespace microvm::vmm
