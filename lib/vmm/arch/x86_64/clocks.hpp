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
// While no vCPU runs; the first of them is vCPU 0.
[[nodiscard]] Result<void> set_clocks(kvm::Vm& vm, std::span<kvm::Vcpu* const> vcpus,
                                      const Clocks& clocks);

}  // namespace microvm::vmm::x86_64
