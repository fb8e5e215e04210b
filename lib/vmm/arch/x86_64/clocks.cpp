#include "vmm/arch/x86_64/clocks.hpp"

namespace microvm::vmm::x86_64 {

Result<Clocks> read_clocks(const kvm::Vm& vm, const kvm::Vcpu& first) {
  const auto kvm_ns = vm.clock_ns();
  if (!kvm_ns) return base::fail(kvm_ns.error());
  const auto tsc = first.tsc();
  if (!tsc) return base::fail(tsc.error());
  return Clocks{*kvm_ns, *tsc};
}

// By offsets, which move the TSCs of all vCPUs by exactly the same; where KVM has none, by value.
Result<void> set_clocks(kvm::Vm& vm, std::span<kvm::Vcpu* const> vcpus, const Clocks& clocks) {
  const auto now = vcpus.front()->tsc();
  if (!now) return base::fail(now.error());
  for (kvm::Vcpu* vcpu : vcpus) {
    if (vcpu->shift_tsc(clocks.tsc - *now)) continue;
    if (auto ok = vcpu->set_tsc(clocks.tsc); !ok) return ok;
  }
  return vm.set_clock_ns(clocks.kvm_ns);
}

}  // namespace microvm::vmm::x86_64
