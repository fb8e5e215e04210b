// One virtual machine of KVM. Create in this order, it decides how long shaping takes: memory
// slots, interrupt chips, vCPUs, ioeventfds, irqfds (each later slot or chip waits for an RCU grace
// period once something reads the earlier ones).
#pragma once

#include <linux/kvm.h>

#include <array>
#include <cstdint>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "vmm/kvm/vcpu.hpp"
#include "vmm/memory/guest_memory.hpp"

namespace microvm::vmm::kvm {

class Vm {
 public:
  Vm(base::Fd fd, VcpuLimits limits) : fd_(std::move(fd)), limits_(limits) {}

  // Addresses KVM needs for itself on older Intel processors; before the memory slots.
  Result<void> set_private_addresses(uint64_t tss, uint64_t identity_map);
  // The region's host range must stay reserved until the Vm is gone; what backs it may change.
  Result<void> add_memory_slot(uint32_t slot, const MemoryRegion& region);
  // Two 8259, one IOAPIC, a local APIC per vCPU. No PIT.
  Result<void> create_interrupt_chips();
  Result<Vcpu> create_vcpu(uint32_t index);

  // A 32-bit write of `value` to `guest_address` signals the eventfd and never reaches run().
  Result<void> add_ioeventfd(int eventfd, uint64_t guest_address, uint32_t value);
  // Signalling the eventfd gives one edge on the pin.
  Result<void> add_irqfd(int eventfd, uint32_t gsi);
  // One edge on the pin, by ioctl. For tests; devices have irqfds.
  Result<void> pulse_interrupt(uint32_t gsi);

  // Chips 0 and 1 are the 8259s, 2 is the IOAPIC.
  static constexpr uint32_t kChips = 3;
  [[nodiscard]] Result<kvm_irqchip> interrupt_chip(uint32_t chip) const;
  Result<void> set_interrupt_chip(const kvm_irqchip& chip);

  // The guest's paravirtual clock, nanoseconds. Setting it moves the clock of all vCPUs.
  [[nodiscard]] Result<uint64_t> clock_ns() const;
  Result<void> set_clock_ns(uint64_t ns);

  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  base::Fd fd_;
  VcpuLimits limits_;
};

}  // namespace microvm::vmm::kvm
