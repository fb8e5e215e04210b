// The one door to an architecture. Who is above kvm/ and arch/ names what stands here and includes
// nothing of the folder behind; another architecture is another folder that has all of it.
#pragma once

#include <linux/audit.h>

#include <cstdint>
#include <vector>

#include "vmm/arch/x86_64/acpi.hpp"
#include "vmm/arch/x86_64/arch_capabilities.hpp"
#include "vmm/arch/x86_64/boot.hpp"
#include "vmm/arch/x86_64/bus.hpp"
#include "vmm/arch/x86_64/clocks.hpp"
#include "vmm/arch/x86_64/cpuid.hpp"
#include "vmm/arch/x86_64/layout.hpp"
#include "vmm/arch/x86_64/power.hpp"
#include "vmm/arch/x86_64/probe.hpp"
#include "vmm/arch/x86_64/sections.hpp"
#include "vmm/arch/x86_64/smp_probe.hpp"
#include "vmm/arch/x86_64/vcpu_state.hpp"
#include "vmm/arch/x86_64/vm_state.hpp"
#include "vmm/kvm/kvm.hpp"

namespace microvm::vmm::arch {

// ---- layout: where things stand and which interrupts they have ----------------------------------
using layout::is_message_address;
using layout::kGenerationIdGsi;
using layout::kGenerationIdPage;
using layout::kMaxVirtioSlots;
using layout::kPciBarStride;
using layout::kPciConfig;
using layout::kPciConfigSize;
using layout::kSerialGsi;
using layout::kVirtioMmioStride;
using layout::virtio_gsi;
using layout::virtio_mmio_address;
using layout::virtio_pci_address;
using layout::virtio_pci_device;
// What an interrupt that is a message is for KVM, and the first number of one.
using MessageRoute = kvm::X86Vm::MessageRoute;
inline constexpr uint32_t kFirstMessageGsi = kvm::X86Vm::kFirstMessageGsi;

// ---- the processor the guest sees ---------------------------------------------------------------
using CpuTable = x86_64::CpuidTable;
using x86_64::check_capabilities;
using x86_64::check_compatible;
using x86_64::set_cpu;

// ---- making and booting -------------------------------------------------------------------------
using DeviceWindow = x86_64::VirtioMmioWindow;
using MachineTables = x86_64::AcpiConfig;
using x86_64::load_linux;
using x86_64::prepare_vm;
using x86_64::probe;
using x86_64::probe_smp;
using x86_64::set_boot_registers;
using x86_64::set_firmware_state;
// The tables that tell a kernel what the machine has; their address, for load_linux().
inline Result<uint64_t> write_tables(GuestMemory& memory, const MachineTables& tables) {
  return x86_64::write_acpi(memory, tables);
}

// ---- running ------------------------------------------------------------------------------------
using vmm::Power;
using vmm::PowerEvent;
using x86_64::BusAccess;
using x86_64::Clocks;
using x86_64::find_on_bus;
using x86_64::read_clocks;
using x86_64::set_clocks;

// ---- state: out of KVM and into it, and the sections of a state file ----------------------------
using x86_64::restore_tsc;
using x86_64::restore_vcpu;
using x86_64::restore_vm;
using x86_64::save_capabilities;
using x86_64::save_vcpu;
using x86_64::save_vm;
using x86_64::set_capabilities;
using x86_64::VcpuState;
using x86_64::VmState;
// What save_vcpu() has to ask this host's KVM for.
inline std::vector<uint32_t> saved_registers(const kvm::Kvm& kvm) {
  return x86_64::saved_msrs(kvm.msr_indices());
}
using x86_64::add_capabilities;
using x86_64::add_cpu_table;
using x86_64::add_vcpu;
using x86_64::add_vm;
using x86_64::read_capabilities;
using x86_64::read_cpu_table;
using x86_64::read_vcpu;
using x86_64::read_vm;

// ---- the system calls of this architecture (linux/audit.h) --------------------------------------
inline constexpr uint32_t kAuditArch = AUDIT_ARCH_X86_64;

}  // namespace microvm::vmm::arch
