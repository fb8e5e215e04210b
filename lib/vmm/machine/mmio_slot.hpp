// A slot whose device is on MMIO: one pin of the IOAPIC, doorbells told apart by what is written.
#pragma once

#include "vmm/arch/arch.hpp"
#include "vmm/machine/virtio_slot.hpp"
#include "vmm/virtio/mmio_transport.hpp"

namespace microvm::vmm {

class MmioSlot final : public VirtioSlot {
 public:
  static Result<std::unique_ptr<MmioSlot>> create(sys::Loop& loop, uint32_t number,
                                                  const DeviceRow& row);
  ~MmioSlot() override { detach(); }

  // How the guest finds the slot of this number.
  static arch::DeviceWindow window(uint32_t number);
  Result<void> connect_doorbells(kvm::Vm& vm) const override;
  Result<void> connect_interrupts(kvm::Vm& vm) const override;

 private:
  MmioSlot(sys::Loop& loop, uint32_t number, const DeviceRow& row, EventLine irq);
  std::unique_ptr<Transport> make_transport(std::unique_ptr<Device> device,
                                            const DeviceContext& context) override;

  EventLine irq_;
};

}  // namespace microvm::vmm
