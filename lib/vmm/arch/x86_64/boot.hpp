// Cold boot of a Linux kernel by the 64-bit boot protocol
// (Documentation/arch/x86/boot.rst of the kernel, "64-bit Boot Protocol").
#pragma once

#include <cstdint>
#include <string_view>

#include "base/error.hpp"
#include "vmm/arch/x86_64/cpuid.hpp"
#include "vmm/kvm/vcpu.hpp"
#include "vmm/kvm/vm.hpp"
#include "vmm/memory/guest_memory.hpp"

namespace microvm::vmm::x86_64 {

struct LinuxBoot {
  int kernel_fd = -1;     // ELF vmlinux
  int initramfs_fd = -1;  // newc cpio, plain or compressed; -1: none
  std::string_view cmdline;
  uint64_t tables = 0;  // the RSDP, see acpi.hpp
  bool pci = false;     // as in those
};

// Fills guest memory: kernel, initramfs, command line, boot parameters, page tables, GDT. The
// address to enter the kernel at. Errors: those of load_kernel(), invalid_argument (command line
// too long or with a NUL), out_of_memory (the initramfs does not fit).
[[nodiscard]] Result<uint64_t> load_linux(GuestMemory& memory, const LinuxBoot& boot);

// What firmware leaves on every processor: memory cached by default (MTRR), XCR0. For all vCPUs,
// the boot processor included, once their CPUID is set.
[[nodiscard]] Result<void> set_firmware_state(kvm::Vcpu& vcpu, const CpuidTable& cpuid);

// And in the machine: 8259s that report nothing. KVM leads the pins below 16 to them too, and a
// kernel that boots by our tables never looks at them (PCAT_COMPAT is clear): as KVM makes them,
// they interrupt the boot processor with vectors that are exceptions. Four ioctls.
[[nodiscard]] Result<void> set_firmware_state(kvm::Vm& vm);

// Puts the boot processor into long mode at `entry`. The others stay as KVM made them, waiting for
// a startup interrupt.
[[nodiscard]] Result<void> set_boot_registers(kvm::Vcpu& vcpu, uint64_t entry);

}  // namespace microvm::vmm::x86_64
