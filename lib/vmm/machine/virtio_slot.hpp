// One place a virtio device can be in: its interrupt and its doorbells exist from the machine's
// shape() on, the device from attach() on. Which transport the slot has is known here and in
// virtio/, and nowhere else.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/error.hpp"
#include "base/log.hpp"
#include "sys/loop.hpp"
#include "vmm/arch/arch.hpp"
#include "vmm/kvm/vm.hpp"
#include "vmm/machine/device_set.hpp"
#include "vmm/machine/event_line.hpp"
#include "vmm/virtio/transport.hpp"

namespace microvm::vmm {

// For the loop's thread, but for transport_at().
class VirtioSlot {
 public:
  // `loop` outlives the slot.
  static Result<std::unique_ptr<VirtioSlot>> create(sys::Loop& loop, uint32_t number,
                                                    const DeviceRow& row);
  ~VirtioSlot();
  VirtioSlot(const VirtioSlot&) = delete;
  VirtioSlot& operator=(const VirtioSlot&) = delete;

  Result<void> connect_doorbells(kvm::Vm& vm) const;
  Result<void> connect_interrupt(kvm::Vm& vm) const;
  // Puts the device in, once.
  void attach(std::unique_ptr<Device> device, const DeviceContext& context);

  // The transport when the guest's access to `address` is one to its registers, else null.
  [[nodiscard]] Transport* transport_at(uint64_t address) const;
  [[nodiscard]] uint64_t address() const;
  // How the guest finds it.
  [[nodiscard]] arch::DeviceWindow window() const;

  [[nodiscard]] uint32_t number() const { return number_; }
  [[nodiscard]] const DeviceRow& row() const { return row_; }
  // Null: no device was attached.
  [[nodiscard]] Transport* transport() const { return transport_.get(); }

 private:
  struct Doorbell {
    base::Fd fd;  // an ioeventfd: the guest's kick
    sys::Loop::WatchId watch = 0;
  };
  VirtioSlot(sys::Loop& loop, uint32_t number, const DeviceRow& row, EventLine irq)
      : loop_(loop), number_(number), row_(row), irq_(std::move(irq)) {}
  Result<void> add_doorbell(uint16_t queue);
  void ring(uint16_t queue);

  sys::Loop& loop_;
  const uint32_t number_;
  const DeviceRow& row_;
  EventLine irq_;
  std::vector<Doorbell> doorbells_;  // one per queue
  std::unique_ptr<Transport> transport_;
};

}  // namespace microvm::vmm
