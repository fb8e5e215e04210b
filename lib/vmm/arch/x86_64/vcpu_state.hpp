// Everything a vCPU is, out of KVM, as bytes, and back into KVM.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "vmm/kvm/kvm.hpp"
#include "vmm/kvm/vcpu.hpp"
#include "wire/bytes.hpp"

namespace microvm::vmm::x86_64 {

struct VcpuState {
  kvm_regs regs{};
  kvm_sregs sregs{};
  kvm_vcpu_events events{};
  kvm_debugregs debugregs{};
  kvm_xcrs xcrs{};
  kvm_lapic_state lapic{};
  kvm_mp_state mp_state{};
  uint32_t tsc_khz = 0;  // 0: unknown
  std::vector<kvm_msr_entry> msrs;
  std::vector<std::byte> xsave;
};

inline constexpr uint16_t kVcpuStateVersion = 1;

// The MSRs of this host that belong to a guest's state, in the order they must be written.
[[nodiscard]] std::vector<uint32_t> saved_msrs(std::span<const uint32_t> host_indices);

// The vCPU must not run. MSRs of the list that KVM refuses to read are left out.
[[nodiscard]] Result<VcpuState> save_vcpu(kvm::Vcpu& vcpu, std::span<const uint32_t> msrs);

// On a fresh vCPU whose CPUID is set and whose guest memory is backed (KVM reads and writes the
// guest's clock page at once). 5 ioctls for a boot processor, 6 for the others: what still has its
// reset value is skipped, general registers and events travel with the first run(). Errors:
// incompatible_cpu (KVM refuses an MSR, the XSAVE image or the TSC frequency), io.
[[nodiscard]] Result<void> restore_vcpu(kvm::Vcpu& vcpu, const VcpuState& state);

// The body of state::SectionId::vcpu.
[[nodiscard]] wire::Bytes encode(const VcpuState& state);
// Error corrupt. MSRs outside our list are refused: a snapshot cannot set arbitrary ones.
[[nodiscard]] Result<VcpuState> decode_vcpu(wire::ByteView body);

}  // namespace microvm::vmm::x86_64
