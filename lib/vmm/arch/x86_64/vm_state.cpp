#include "vmm/arch/x86_64/vm_state.hpp"

#include <cstring>
#include <span>

#include "vmm/arch/x86_64/layout.hpp"

namespace microvm::vmm::x86_64 {

Result<void> prepare_vm(kvm::Vm& vm) {
  return vm.set_private_addresses(layout::kTssAddress, layout::kIdentityMapAddress);
}

Result<VmState> save_vm(const kvm::Vm& vm, const Clocks& clocks) {
  VmState state;
  for (uint32_t i = 0; i < state.chips.size(); ++i) {
    const auto chip = vm.interrupt_chip(i);
    if (!chip) return base::fail(chip.error());
    state.chips[i] = *chip;
  }
  state.clock_ns = clocks.kvm_ns;
  return state;
}

Result<void> restore_vm(kvm::Vm& vm, const VmState& state) {
  for (const kvm_irqchip& chip : state.chips) {
    if (auto ok = vm.set_interrupt_chip(chip); !ok) return ok;
  }
  return vm.set_clock_ns(state.clock_ns);
}

wire::Bytes encode_chips(const VmState& state) {
  wire::ByteWriter out;
  for (const kvm_irqchip& chip : state.chips) out.put_bytes(std::as_bytes(std::span(&chip, 1)));
  return out.take();
}

wire::Bytes encode_clock(const VmState& state) {
  wire::ByteWriter out;
  out.put(state.clock_ns);
  return out.take();
}

Result<VmState> decode_vm(wire::ByteView chips, wire::ByteView clock) {
  VmState state;
  wire::ByteReader chips_in(chips);
  for (uint32_t i = 0; i < state.chips.size(); ++i) {
    const wire::ByteView bytes = chips_in.get_bytes(sizeof(kvm_irqchip));
    if (!bytes.empty()) std::memcpy(&state.chips[i], bytes.data(), bytes.size());
    if (state.chips[i].chip_id != i) chips_in.fail();
  }
  wire::ByteReader clock_in(clock);
  state.clock_ns = clock_in.get<uint64_t>();
  // Signed inside KVM; half the range is 146 years.
  if (state.clock_ns > static_cast<uint64_t>(INT64_MAX) / 2) clock_in.fail();
  if (!chips_in.done() || !clock_in.done()) {
    return base::fail(ErrorCode::corrupt, "snapshot: interrupt chips or clock are damaged");
  }
  return state;
}

}  // namespace microvm::vmm::x86_64
