#include "vmm/machine/virtio_slot.hpp"

#include <poll.h>

namespace microvm::vmm {

VirtioSlot::~VirtioSlot() {
  for (const Doorbell& doorbell : doorbells_) loop_.unwatch(doorbell.watch);
}

Result<void> VirtioSlot::add_doorbells() {
  for (uint16_t queue = 0; queue < row_.kind->queues; ++queue) {
    auto line = EventLine::create();
    if (!line) return base::fail(line.error());
    const auto watch = loop_.watch(line->fd(), POLLIN, [this, queue](uint32_t) { ring(queue); });
    doorbells_.push_back({std::move(*line), watch});
  }
  return {};
}

void VirtioSlot::ring(uint16_t queue) {
  if (doorbells_[queue].line.consume() && transport_) transport_->kick(queue);
}

void VirtioSlot::attach(std::unique_ptr<Device> device, const DeviceContext& context) {
  transport_ = make_transport(std::move(device), context);
}

}  // namespace microvm::vmm
