#include "vmm/machine/virtio_slot.hpp"

#include <sys/eventfd.h>

namespace microvm::vmm {

VirtioSlot::~VirtioSlot() {
  for (const Doorbell& doorbell : doorbells_) loop_.unwatch(doorbell.watch);
}

void VirtioSlot::detach() {
  transport_.reset();
  loop_.flush_raised();
}

Result<void> VirtioSlot::add_doorbells() {
  for (uint16_t queue = 0; queue < row_.kind->queues; ++queue) {
    base::Fd fd(::eventfd(0, EFD_CLOEXEC));
    if (!fd) return base::fail_errno("eventfd");
    const auto watch = loop_.watch_counter(fd.get(), [this, queue](uint64_t) { ring(queue); });
    doorbells_.push_back({std::move(fd), watch});
  }
  return {};
}

void VirtioSlot::ring(uint16_t queue) {
  if (transport_) transport_->kick(queue);
}

void VirtioSlot::attach(std::unique_ptr<Device> device, const DeviceContext& context) {
  transport_ = make_transport(std::move(device), context);
}

}  // namespace microvm::vmm
