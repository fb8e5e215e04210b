// One place a virtio device can be in: its interrupts and its doorbells exist from the machine's
// shape() on, the device from attach() on. Which transport the slot has is known to its subclasses
// (mmio_slot.hpp, pci_slot.hpp), in virtio/, and nowhere else.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/error.hpp"
#include "base/log.hpp"
#include "sys/loop.hpp"
#include "vmm/kvm/vm.hpp"
#include "vmm/machine/device_set.hpp"
#include "vmm/machine/event_line.hpp"
#include "vmm/virtio/transport.hpp"

namespace microvm::vmm {

// For the loop's thread, but for transport_at().
class VirtioSlot {
 public:
  virtual ~VirtioSlot();
  VirtioSlot(const VirtioSlot&) = delete;
  VirtioSlot& operator=(const VirtioSlot&) = delete;

  virtual Result<void> connect_doorbells(kvm::Vm& vm) const = 0;
  virtual Result<void> connect_interrupts(kvm::Vm& vm) const = 0;
  // Puts the device in, once.
  void attach(std::unique_ptr<Device> device, const DeviceContext& context);

  // The transport when the guest's access to `address` is one to its registers, else null.
  [[nodiscard]] Transport* transport_at(uint64_t address) const {
    return address - address_ < region_bytes_ ? transport_.get() : nullptr;
  }
  [[nodiscard]] uint64_t address() const { return address_; }

  [[nodiscard]] uint32_t number() const { return number_; }
  [[nodiscard]] const DeviceRow& row() const { return row_; }
  // Null: no device was attached.
  [[nodiscard]] Transport* transport() const { return transport_.get(); }

 protected:
  // `loop` outlives the slot. The registers stand at `address`.
  VirtioSlot(sys::Loop& loop, uint32_t number, const DeviceRow& row, uint64_t address,
             uint64_t region_bytes)
      : loop_(loop), number_(number), row_(row), address_(address), region_bytes_(region_bytes) {}
  Result<void> add_doorbells();
  // The device goes, and its last interrupts out: for subclasses, which close the lines.
  void detach();
  [[nodiscard]] uint16_t queues() const { return static_cast<uint16_t>(doorbells_.size()); }
  [[nodiscard]] int doorbell_fd(uint16_t queue) const { return doorbells_[queue].fd.get(); }
  virtual std::unique_ptr<Transport> make_transport(std::unique_ptr<Device> device,
                                                    const DeviceContext& context) = 0;

 private:
  struct Doorbell {
    base::Fd fd;  // an ioeventfd: the guest's kick
    sys::Loop::WatchId watch = 0;
  };
  void ring(uint16_t queue);

  sys::Loop& loop_;
  const uint32_t number_;
  const DeviceRow& row_;
  const uint64_t address_;
  const uint64_t region_bytes_;
  std::vector<Doorbell> doorbells_;  // one per queue
  std::unique_ptr<Transport> transport_;
};

}  // namespace microvm::vmm
