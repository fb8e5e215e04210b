// The parts of a VM's state that belong to no vCPU: interrupt chips and the clock.
#pragma once

#include <linux/kvm.h>

#include <array>
#include <cstdint>

#include "base/error.hpp"
#include "vmm/arch/x86_64/clocks.hpp"
#include "vmm/kvm/vm.hpp"
#include "wire/bytes.hpp"

namespace microvm::vmm::x86_64 {

struct VmState {
  std::array<kvm_irqchip, kvm::Vm::kChips> chips{};
  // The guest's monotonic clock. A restore continues here: a guest never sees the time in between;
  // the wall clock is the agent's matter.
  uint64_t clock_ns = 0;
};

inline constexpr uint16_t kChipsVersion = 1;
inline constexpr uint16_t kClockVersion = 1;

// Before the memory slots: what KVM has to know of the address space.
[[nodiscard]] Result<void> prepare_vm(kvm::Vm& vm);

// After all vCPUs stopped, where the clocks stood then.
[[nodiscard]] Result<VmState> save_vm(const kvm::Vm& vm, const Clocks& clocks);
// Before restore_vcpu(). Four ioctls.
[[nodiscard]] Result<void> restore_vm(kvm::Vm& vm, const VmState& state);

// The bodies of state::SectionId::interrupt_chips and ::clock.
[[nodiscard]] wire::Bytes encode_chips(const VmState& state);
[[nodiscard]] wire::Bytes encode_clock(const VmState& state);
[[nodiscard]] Result<VmState> decode_vm(wire::ByteView chips, wire::ByteView clock);

}  // namespace microvm::vmm::x86_64
