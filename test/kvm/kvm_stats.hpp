// KVM's own count of how often a guest was left (KVM API, KVM_GET_STATS_FD).
#pragma once

#include <cstdint>

namespace microvm::vmm::test {

// For whatever reason, interrupts of the host among them. Of the one vCPU of this process.
uint64_t vcpu_exits();

}  // namespace microvm::vmm::test
