#include "vmm/machine/mmio_slot.hpp"

namespace microvm::vmm {

static_assert(MmioTransport::kRegionBytes == arch::kVirtioMmioStride);

MmioSlot::MmioSlot(sys::Loop& loop, uint32_t number, const DeviceRow& row, EventLine irq)
    : VirtioSlot(loop, number, row, arch::virtio_mmio_address(number), MmioTransport::kRegionBytes),
      irq_(std::move(irq)) {}

Result<std::unique_ptr<MmioSlot>> MmioSlot::create(sys::Loop& loop, uint32_t number,
                                                   const DeviceRow& row) {
  auto irq = EventLine::create(&loop);
  if (!irq) return base::fail(irq.error());
  std::unique_ptr<MmioSlot> slot(new MmioSlot(loop, number, row, std::move(*irq)));
  if (auto ok = slot->add_doorbells(); !ok) return base::fail(ok.error());
  return slot;
}

arch::DeviceWindow MmioSlot::window(uint32_t number) {
  return {arch::virtio_mmio_address(number), MmioTransport::kRegionBytes, arch::virtio_gsi(number)};
}

Result<void> MmioSlot::connect_doorbells(kvm::Vm& vm) const {
  const uint64_t notify = address() + MmioTransport::kQueueNotifyOffset;
  for (uint16_t queue = 0; queue < queues(); ++queue) {
    if (auto ok = vm.add_ioeventfd(doorbell_fd(queue), notify, queue); !ok) return ok;
  }
  return {};
}

Result<void> MmioSlot::connect_interrupts(kvm::Vm& vm) const {
  return vm.add_irqfd(irq_.fd(), arch::virtio_gsi(number()));
}

std::unique_ptr<Transport> MmioSlot::make_transport(std::unique_ptr<Device> device,
                                                    const DeviceContext& context) {
  return std::make_unique<MmioTransport>(context.memory, context.loop, irq_, std::move(device),
                                         context.log);
}

}  // namespace microvm::vmm
