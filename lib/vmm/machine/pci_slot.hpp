// A slot whose device is a PCI function: an irqfd for each vector, a doorbell at an address of its
// own for each queue.
#pragma once

#include "vmm/arch/arch.hpp"
#include "vmm/machine/msi_routes.hpp"
#include "vmm/machine/virtio_slot.hpp"
#include "vmm/virtio/pci_transport.hpp"

namespace microvm::vmm {

// What the slots of a machine share; it lives longer than they.
struct PciParts {
  PciParts(kvm::Vm& vm, sys::Loop& loop, base::LogSink log);
  PciBus bus;
  HostBridge bridge;
  MsiRoutes routes;
};

class PciSlot final : public VirtioSlot, private MessageInterrupts {
 public:
  // `parts` outlives the slot.
  static Result<std::unique_ptr<PciSlot>> create(sys::Loop& loop, uint32_t number,
                                                 const DeviceRow& row, PciParts& parts);
  ~PciSlot() override { detach(); }

  Result<void> connect_doorbells(kvm::Vm& vm) const override;
  Result<void> connect_interrupts(kvm::Vm& vm) const override;

 private:
  PciSlot(sys::Loop& loop, uint32_t number, const DeviceRow& row, PciParts& parts);
  std::unique_ptr<Transport> make_transport(std::unique_ptr<Device> device,
                                            const DeviceContext& context) override;
  void route(uint16_t vector, const MsiMessage& message) override;
  void raise(uint16_t vector) noexcept override;

  // Among the machine's messages.
  [[nodiscard]] size_t index(size_t vector) const;

  PciParts& parts_;
  std::vector<EventLine> lines_;  // one per vector
};

}  // namespace microvm::vmm
