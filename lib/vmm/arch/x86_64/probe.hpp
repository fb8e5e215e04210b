// Whether this /dev/kvm executes what a stock kernel needs.
#pragma once

#include <span>

#include "base/error.hpp"
#include "vmm/arch/x86_64/probe_code.hpp"
#include "vmm/kvm/kvm.hpp"

namespace microvm::vmm::x86_64 {

// Runs tiny guests in 64-bit ring 0 that execute instructions which partial KVMs lack. Some
// milliseconds. Error kvm_unsuitable naming what failed.
[[nodiscard]] Result<void> probe(const kvm::Kvm& kvm,
                                 std::span<const ProbeCheck> checks = probe_checks());

}  // namespace microvm::vmm::x86_64
