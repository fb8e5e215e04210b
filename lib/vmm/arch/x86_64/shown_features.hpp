// What KVM could show of this host's processor, and a new guest does not get to see. A snapshot
// that an older library made may have shown it all the same, and still runs.
#pragma once

#include <linux/kvm.h>

#include <vector>

namespace microvm::vmm::x86_64 {

// - What has state that we do not save: CET (Linux 6.18 shows it; the guest's shadow-stack pointer
//   is no MSR).
// - User-mode waits (WAITPKG): they leave the processor idle while its time is counted as used.
// - AMX, unless both components of its state are there. Without the permission of
//   ARCH_REQ_XCOMP_GUEST_PERM, Linux 5.17 to 6.3 shows one of them: KVM_SET_XCRS then refuses
//   what CPUID says.
// - What only another vendor's processors have: ARCH_CAPABILITIES on AMD, AMD's leaf of core counts
//   and cmp_legacy on Intel.
void hide_from_new_guests(std::vector<kvm_cpuid_entry2>& entries);

}  // namespace microvm::vmm::x86_64
