#include "vmm/machine/pci_slot.hpp"

namespace microvm::vmm {

static_assert(PciTransport::kRegionBytes == arch::kPciBarStride);
static_assert(PciBus::kWindowBytes == arch::kPciConfigSize);
static_assert(arch::virtio_pci_device(arch::kMaxVirtioSlots) <= PciBus::kDevices);

namespace {

constexpr size_t kVectorsOfSlot = PciTransport::vectors_for(kMaxQueues);

}  // namespace

PciParts::PciParts(kvm::Vm& vm, sys::Loop& loop, base::LogSink log)
    : routes(vm, loop, std::move(log), arch::kMaxVirtioSlots * kVectorsOfSlot) {
  bus.add(0, bridge);
}

PciSlot::PciSlot(sys::Loop& loop, uint32_t number, const DeviceRow& row, PciParts& parts)
    : VirtioSlot(loop, number, row, arch::virtio_pci_address(number), PciTransport::kRegionBytes),
      parts_(parts) {}

Result<std::unique_ptr<PciSlot>> PciSlot::create(sys::Loop& loop, uint32_t number,
                                                 const DeviceRow& row, PciParts& parts) {
  std::unique_ptr<PciSlot> slot(new PciSlot(loop, number, row, parts));
  if (auto ok = slot->add_doorbells(); !ok) return base::fail(ok.error());
  for (uint16_t i = 0; i < PciTransport::vectors_for(slot->queues()); ++i) {
    auto line = EventLine::create(&loop);
    if (!line) return base::fail(line.error());
    slot->lines_.push_back(std::move(*line));
  }
  return slot;
}

size_t PciSlot::index(size_t vector) const {
  return number() * kVectorsOfSlot + vector;
}

Result<void> PciSlot::connect_doorbells(kvm::Vm& vm) const {
  for (uint16_t queue = 0; queue < queues(); ++queue) {
    const uint64_t notify = address() + PciTransport::notify_offset(queue);
    if (auto ok = vm.add_ioeventfd(doorbell_fd(queue), notify); !ok) return ok;
  }
  return {};
}

Result<void> PciSlot::connect_interrupts(kvm::Vm& vm) const {
  for (size_t vector = 0; vector < lines_.size(); ++vector) {
    if (auto ok = vm.add_irqfd(lines_[vector].fd(), MsiRoutes::gsi(index(vector))); !ok) return ok;
  }
  return {};
}

std::unique_ptr<Transport> PciSlot::make_transport(std::unique_ptr<Device> device,
                                                   const DeviceContext& context) {
  MessageInterrupts& interrupts = *this;
  auto made = std::make_unique<PciTransport>(context.memory, context.loop, interrupts,
                                             static_cast<uint32_t>(address()), std::move(device),
                                             context.log);
  parts_.bus.add(arch::virtio_pci_device(number()), *made);
  return made;
}

// One that was raised before may still be on its way to where the old message says, where the
// driver does not hear of it any more. One too many does no harm.
void PciSlot::route(uint16_t vector, const MsiMessage& message) {
  const bool may_be_on_its_way = parts_.routes.in_table(index(vector));
  parts_.routes.set(index(vector), message);
  if (may_be_on_its_way) parts_.routes.send(index(vector));
}

void PciSlot::raise(uint16_t vector) noexcept {
  if (parts_.routes.in_table(index(vector))) return lines_[vector].raise();
  parts_.routes.send(index(vector));
}

}  // namespace microvm::vmm
