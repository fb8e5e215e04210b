// One virtual machine of KVM. Create in this order, it decides how long shaping takes: memory
// slots, interrupt chips, vCPUs, ioeventfds, irqfds (each later slot or chip waits for an RCU grace
// period once something reads the earlier ones).
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <optional>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "vmm/kvm/page_count.hpp"
#include "vmm/kvm/vcpu.hpp"
#include "vmm/kvm/x86_64.hpp"
#include "vmm/memory/guest_memory.hpp"

namespace microvm::vmm::kvm {

class Vm : public X86Vm {
 public:
  Vm(base::Fd fd, const VcpuLimits& limits) : X86Vm(std::move(fd)), limits_(limits) {}

  // The region's host range must stay reserved until the Vm is gone; what backs it may change.
  Result<void> add_memory_slot(uint32_t slot, const MemoryRegion& region);
  Result<Vcpu> create_vcpu(uint32_t index);

  // A 32-bit write of `value` to `guest_address` signals the eventfd and never reaches run().
  Result<void> add_ioeventfd(int eventfd, uint64_t guest_address, uint32_t value);
  // A write of any width does, whatever its value.
  Result<void> add_ioeventfd(int eventfd, uint64_t guest_address);
  // Signalling the eventfd gives one edge on the pin.
  Result<void> add_irqfd(int eventfd, uint32_t gsi);
  // One edge on the pin, by ioctl. For tests; devices have irqfds.
  Result<void> pulse_interrupt(uint32_t gsi);

  // Those that are mapped for the guest; empty: this kernel does not count them.
  [[nodiscard]] std::optional<PageCount> count_pages() const { return PageCount::open(fd_.get()); }
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  VcpuLimits limits_;
};

}  // namespace microvm::vmm::kvm
