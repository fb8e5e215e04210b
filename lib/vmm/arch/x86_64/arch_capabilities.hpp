// What the processor promised the guest of its own flaws (IA32_ARCH_CAPABILITIES, SDM vol. 4): a
// kernel reads it once, at its boot, and leaves out the mitigations that it then need not do. A
// processor that promises less is no place for that guest.
//
// The body of its section is the value, u64. Older libraries pass over it.
#pragma once

#include <cstdint>
#include <optional>

#include "base/error.hpp"
#include "state/sections.hpp"
#include "vmm/arch/x86_64/cpuid.hpp"
#include "vmm/kvm/vcpu.hpp"

namespace microvm::vmm::x86_64 {

// Where the table shows the register: what it says. One ioctl.
[[nodiscard]] Result<std::optional<uint64_t>> save_capabilities(const kvm::Vcpu& vcpu,
                                                                const CpuidTable& table);
void add_capabilities(state::Writer& out, uint64_t value);
// Empty in the state of a guest that did not see the register, or of an older library.
[[nodiscard]] Result<std::optional<uint64_t>> read_capabilities(const state::Reader& in);

// `host`: what a new guest would read. Error incompatible_cpu, with the list.
[[nodiscard]] Result<void> check_capabilities(uint64_t snapshot, uint64_t host);
// The guest reads what it read before. One ioctl.
[[nodiscard]] Result<void> set_capabilities(kvm::Vcpu& vcpu, uint64_t value);

}  // namespace microvm::vmm::x86_64
