// Whether several vCPUs of one guest see one memory and one time: what a kernel with more than one
// relies on.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.hpp"
#include "vmm/kvm/kvm.hpp"

namespace microvm::vmm::x86_64 {

struct SmpProbeResult {
  uint64_t rounds = 0;         // of all vCPUs together
  uint64_t tsc_backwards = 0;  // of them, those that read an earlier TSC than the round before
  uint64_t most_backwards_ticks = 0;
  uint32_t tsc_khz = 0;
};

inline constexpr uint16_t kMaxSmpProbeVcpus = 16;

// What each vCPU runs, position-independent, in 64-bit ring 0 (long_mode.hpp). The registers that
// it begins with are told where it stands.
[[nodiscard]] std::span<const std::byte> smp_probe_code();

// The vCPUs, each a thread of its own, count for `time` under a lock and without, and read the TSC
// under the lock. Error kvm_unsuitable: a count is wrong, or a vCPU did not run as it should.
[[nodiscard]] Result<SmpProbeResult> probe_smp(const kvm::Kvm& kvm, uint16_t vcpus,
                                               std::chrono::milliseconds time,
                                               std::span<const std::byte> code = smp_probe_code());

}  // namespace microvm::vmm::x86_64
