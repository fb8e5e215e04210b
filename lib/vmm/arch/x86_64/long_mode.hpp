// A vCPU in 64-bit ring 0 with the first GiB mapped to itself: where a kernel starts, and where the
// probe's and the tests' tiny guests run.
#pragma once

#include <linux/kvm.h>

#include "base/error.hpp"
#include "vmm/kvm/vcpu.hpp"
#include "vmm/memory/guest_memory.hpp"

namespace microvm::vmm::x86_64 {

// The segments of the boot protocol: 0x10 is code (__BOOT_CS), 0x18 data (__BOOT_DS).
inline constexpr uint16_t kCodeSelector = 0x10;
inline constexpr uint16_t kDataSelector = 0x18;

// GDT and page tables, at the addresses of layout.hpp.
[[nodiscard]] Result<void> write_long_mode_tables(GuestMemory& memory);

// Long mode with these tables; general registers from `regs` (rflags is set here).
[[nodiscard]] Result<void> enter_long_mode(kvm::Vcpu& vcpu, kvm_regs regs);

}  // namespace microvm::vmm::x86_64
