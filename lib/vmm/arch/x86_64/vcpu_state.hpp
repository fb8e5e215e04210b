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

inline constexpr uint16_t kVcpuStateVersion = 2;
// What its section is written as: version 2 may have MSRs that libraries before it refuse.
[[nodiscard]] uint16_t version_of(const VcpuState& state);

// The MSRs of this host that belong to a guest's state, in the order they must be written.
[[nodiscard]] std::vector<uint32_t> saved_msrs(std::span<const uint32_t> host_indices);

// The vCPU must not run, and its last run() must have been interrupted: registers that were set
// lazily and those that an access still changes are not in KVM before.
// MSRs of the list that KVM refuses to read are left out.
[[nodiscard]] Result<VcpuState> save_vcpu(kvm::Vcpu& vcpu, std::span<const uint32_t> msrs);

// Before restore_vcpu(), for all vCPUs of a machine at once: their TSCs go on where the first one's
// stood, equal to each other. One ioctl each. Error incompatible_cpu: another frequency, which this
// host cannot have.
[[nodiscard]] Result<void> restore_tsc(std::span<kvm::Vcpu* const> vcpus, const VcpuState& first);

// On a fresh vCPU whose CPUID is set and whose guest memory is backed (KVM reads and writes the
// guest's clock page at once). 5 ioctls for a boot processor, 6 for the others: what still has its
// reset value is skipped, general registers and events travel with the first run(). Errors:
// incompatible_cpu (KVM refuses an MSR or the XSAVE image), io.
[[nodiscard]] Result<void> restore_vcpu(kvm::Vcpu& vcpu, const VcpuState& state);

// The body of state::SectionId::vcpu.
[[nodiscard]] wire::Bytes encode(const VcpuState& state);
// Error corrupt. MSRs outside our list are refused: a snapshot cannot set arbitrary ones.
[[nodiscard]] Result<VcpuState> decode_vcpu(wire::ByteView body);

}  // namespace microvm::vmm::x86_64
