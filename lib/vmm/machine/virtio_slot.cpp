#include "vmm/machine/virtio_slot.hpp"

#include <sys/eventfd.h>

#include "vmm/virtio/mmio_transport.hpp"

namespace microvm::vmm {

static_assert(MmioTransport::kRegionBytes == arch::kVirtioMmioStride);

Result<std::unique_ptr<VirtioSlot>> VirtioSlot::create(sys::Loop& loop, uint32_t number,
                                                       const DeviceRow& row) {
  auto irq = EventLine::create(&loop);
  if (!irq) return base::fail(irq.error());
  std::unique_ptr<VirtioSlot> slot(new VirtioSlot(loop, number, row, std::move(*irq)));
  for (uint16_t queue = 0; queue < row.kind->queues; ++queue) {
    if (auto ok = slot->add_doorbell(queue); !ok) return base::fail(ok.error());
  }
  return slot;
}

VirtioSlot::~VirtioSlot() {
  for (const Doorbell& doorbell : doorbells_) loop_.unwatch(doorbell.watch);
  loop_.flush_raised();
}

Result<void> VirtioSlot::add_doorbell(uint16_t queue) {
  base::Fd fd(::eventfd(0, EFD_CLOEXEC));
  if (!fd) return base::fail_errno("eventfd");
  const auto watch = loop_.watch_counter(fd.get(), [this, queue](uint64_t) { ring(queue); });
  doorbells_.push_back({std::move(fd), watch});
  return {};
}

void VirtioSlot::ring(uint16_t queue) {
  if (transport_) transport_->kick(queue);
}

Result<void> VirtioSlot::connect_doorbells(kvm::Vm& vm) const {
  const uint64_t notify = address() + MmioTransport::kQueueNotifyOffset;
  for (uint32_t queue = 0; queue < doorbells_.size(); ++queue) {
    if (auto ok = vm.add_ioeventfd(doorbells_[queue].fd.get(), notify, queue); !ok) return ok;
  }
  return {};
}

Result<void> VirtioSlot::connect_interrupt(kvm::Vm& vm) const {
  return vm.add_irqfd(irq_.fd(), arch::virtio_gsi(number_));
}

void VirtioSlot::attach(std::unique_ptr<Device> device, const DeviceContext& context) {
  transport_ = std::make_unique<MmioTransport>(context.memory, context.loop, irq_,
                                               std::move(device), context.log);
}

Transport* VirtioSlot::transport_at(uint64_t address) const {
  return address - this->address() < MmioTransport::kRegionBytes ? transport_.get() : nullptr;
}

uint64_t VirtioSlot::address() const {
  return arch::virtio_mmio_address(number_);
}

arch::DeviceWindow VirtioSlot::window() const {
  return {address(), MmioTransport::kRegionBytes, arch::virtio_gsi(number_)};
}

}  // namespace microvm::vmm
