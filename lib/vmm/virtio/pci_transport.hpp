// virtio over PCI, the modern interface (virtio 1.2 §4.1): a function with one BAR and MSI-X, a
// vector for the configuration and one for each queue.
//
// Where things are is fixed (pci_registers.hpp). The BAR can be asked for its size and holds no
// address but its own: whatever else is written into it, it reads as before and the registers stay
// where they are, so a guest that moves it sees that it did not. Linux keeps what it finds.
// There is no interrupt pin: without MSI-X the driver is told nothing and finds the bits in the ISR
// register.
#pragma once

#include "vmm/virtio/msix.hpp"
#include "vmm/virtio/pci_bus.hpp"
#include "vmm/virtio/pci_config_space.hpp"
#include "vmm/virtio/pci_registers.hpp"
#include "vmm/virtio/transport.hpp"

namespace microvm::vmm {

// State section virtio_pci, beside virtio_transport's. Version 1: the configuration space, u16
// vector of the configuration, u16 count and u16 vectors of the queues; u16 count and u64 address,
// u32 data, u8 masked of each MSI-X entry, u64 pending.
inline constexpr uint16_t kPciStateVersion = 1;

class PciTransport final : public Transport, public PciFunction {
 public:
  static constexpr uint64_t kRegionBytes = pci::kBarBytes;
  // A doorbell for each queue, whatever is written there.
  [[nodiscard]] static constexpr uint64_t notify_offset(uint16_t queue) {
    return pci::kNotifyAt + pci::kNotifyStride * queue;
  }
  [[nodiscard]] static constexpr uint16_t vectors_for(uint16_t queues) {
    return static_cast<uint16_t>(queues + 1);
  }

  // `memory`, `loop` and `interrupts` outlive the transport. The guest finds the registers at
  // `address`, a multiple of kRegionBytes.
  PciTransport(GuestMemory& memory, sys::Loop& loop, MessageInterrupts& interrupts,
               uint32_t address, std::unique_ptr<Device> device, base::LogSink log);

  void read(uint64_t offset, std::span<std::byte> data) override;
  void write(uint64_t offset, std::span<const std::byte> data) override;
  void config_read(uint32_t offset, std::span<std::byte> data) override;
  void config_write(uint32_t offset, std::span<const std::byte> data) override;

 private:
  void interrupt_used(uint16_t queue) override;
  void interrupt_config() override;
  void repeat_interrupts() override;
  void reset_registers() override;
  void save_registers(state::Writer& out, uint32_t instance) const override;
  Result<void> restore_registers(const state::Reader& in, uint32_t instance) override;

  // pci_config.cpp
  void lay_out_config(const DeviceKind& kind);
  void add_window(pci::WindowKind kind, uint64_t offset, uint64_t bytes, wire::ByteView more = {});
  void apply_config();
  [[nodiscard]] bool touches_access_window(uint32_t offset, size_t bytes) const;
  // What the access window shows now; empty when the guest's words for it make no sense.
  struct Access {
    uint64_t offset = 0;
    uint32_t length = 0;
  };
  [[nodiscard]] Access access_window() const;

  void read_registers(uint64_t offset, std::span<std::byte> data);
  void write_registers(uint64_t offset, std::span<const std::byte> data);
  void read_isr(uint64_t offset, std::span<std::byte> data);
  [[nodiscard]] uint32_t read_common(uint64_t offset) const;
  [[nodiscard]] uint32_t read_queue_register(uint64_t offset) const;
  void write_common(std::unique_lock<std::mutex>& guard, uint64_t offset, uint32_t value);
  void write_queue_register(uint64_t offset, uint32_t value);
  [[nodiscard]] uint16_t vector_for(uint32_t value) const;

  const uint32_t address_;
  PciConfigSpace config_;
  uint32_t msix_at_ = 0;  // where these capabilities stand
  uint32_t access_at_ = 0;
  std::atomic<bool> memory_on_{false};
  MsixTable msix_;
  uint16_t config_vector_ = MsixTable::kNoVector;
  std::vector<uint16_t> queue_vectors_;
};

}  // namespace microvm::vmm
