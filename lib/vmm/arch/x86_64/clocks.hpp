// The guest's clocks: where they stand, and how they get back to there.
#pragma once

#include <cstdint>
#include <span>

#include "base/error.hpp"
#include "vmm/kvm/vm.hpp"

namespace microvm::vmm::x86_64 {

struct Clocks {
  uint64_t kvm_ns = 0;  // the paravirtual clock
  uint64_t tsc = 0;     // of vCPU 0; the others keep their distance to it
};

[[nodiscard]] Result<Clocks> read_clocks(const kvm::Vm& vm, const kvm::Vcpu& first);
// How a TSC is set: by its distance to the host's, which is exact, or by its value, where KVM has
// no distances (before Linux 5.16). KVM takes a value less than a second away from what it expects
// of a vCPU for an attempt to keep them in step and leaves the TSC as it is; before Linux 6.7 it
// expects that of a vCPU that nobody has set yet, too: its own age.
enum class TscWay { offsets_or_values, values };

// The TSCs of all vCPUs stand at this value, at equal distances to the host's. While none runs. One
// ioctl each; a few more where the guest's TSC has another frequency than the host's.
[[nodiscard]] Result<void> set_tsc(std::span<kvm::Vcpu* const> vcpus, uint64_t value,
                                   TscWay way = TscWay::offsets_or_values);

// While no vCPU runs; the first of them is vCPU 0.
[[nodiscard]] Result<void> set_clocks(kvm::Vm& vm, std::span<kvm::Vcpu* const> vcpus,
                                      const Clocks& clocks);

}  // namespace microvm::vmm::x86_64
