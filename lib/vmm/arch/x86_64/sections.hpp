// The architecture's sections of a state file. The files are untrusted: what is read is checked.
#pragma once

#include <cstdint>

#include "base/error.hpp"
#include "state/sections.hpp"
#include "vmm/arch/x86_64/arch_capabilities.hpp"
#include "vmm/arch/x86_64/cpuid.hpp"
#include "vmm/arch/x86_64/vcpu_state.hpp"
#include "vmm/arch/x86_64/vm_state.hpp"

namespace microvm::vmm::x86_64 {

void add_cpu_table(state::Writer& out, const CpuidTable& table);
void add_vm(state::Writer& out, const VmState& vm);
void add_vcpu(state::Writer& out, uint32_t index, const VcpuState& vcpu);

// Errors: corrupt (also: missing), unsupported (of a newer library).
[[nodiscard]] Result<CpuidTable> read_cpu_table(const state::Reader& in);
[[nodiscard]] Result<VmState> read_vm(const state::Reader& in);
[[nodiscard]] Result<VcpuState> read_vcpu(const state::Reader& in, uint32_t index);

}  // namespace microvm::vmm::x86_64
