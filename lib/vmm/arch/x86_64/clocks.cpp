#include "vmm/arch/x86_64/clocks.hpp"

#include <x86intrin.h>

#include <algorithm>

namespace microvm::vmm::x86_64 {
namespace {

// The distance at which a vCPU's TSC stands at `value` now.
Result<uint64_t> tsc_offset_for(const kvm::Vcpu& vcpu, uint64_t value) {
  if (!vcpu.scales_tsc()) return value - __rdtsc();
  const auto offset = vcpu.tsc_offset();
  if (!offset) return offset;
  const auto now = vcpu.tsc();
  if (!now) return now;
  return *offset + value - *now;
}

// The first one past whatever KVM may expect, then where it belongs: nothing is taken for a step
// towards other vCPUs. The rest are such steps and get what the first has.
Result<void> set_tsc_values(std::span<kvm::Vcpu* const> vcpus, uint64_t value) {
  constexpr uint64_t kFar = uint64_t{1} << 62;
  value = std::max<uint64_t>(value, 1);  // zero is a step, too
  if (auto ok = vcpus.front()->set_tsc(value ^ kFar); !ok) return ok;
  for (kvm::Vcpu* vcpu : vcpus) {
    if (auto ok = vcpu->set_tsc(value); !ok) return ok;
  }
  return {};
}

}  // namespace

Result<void> set_tsc(std::span<kvm::Vcpu* const> vcpus, uint64_t value, TscWay way) {
  if (way == TscWay::values) return set_tsc_values(vcpus, value);
  const auto offset = tsc_offset_for(*vcpus.front(), value);
  for (kvm::Vcpu* vcpu : vcpus) {
    if (!offset || !vcpu->set_tsc_offset(*offset)) return set_tsc_values(vcpus, value);
  }
  return {};
}

Result<Clocks> read_clocks(const kvm::Vm& vm, const kvm::Vcpu& first) {
  const auto kvm_ns = vm.clock_ns();
  if (!kvm_ns) return base::fail(kvm_ns.error());
  const auto tsc = first.tsc();
  if (!tsc) return base::fail(tsc.error());
  return Clocks{*kvm_ns, *tsc};
}

// By offsets, which move the TSCs of all vCPUs by exactly the same; where KVM has none, by value.
// The first says whether it has: then none has moved yet.
Result<void> set_clocks(kvm::Vm& vm, std::span<kvm::Vcpu* const> vcpus, const Clocks& clocks) {
  const auto now = vcpus.front()->tsc();
  if (!now) return base::fail(now.error());
  for (kvm::Vcpu* vcpu : vcpus) {
    if (vcpu->shift_tsc(clocks.tsc - *now)) continue;
    if (auto ok = set_tsc(vcpus, clocks.tsc, TscWay::values); !ok) return ok;
    break;
  }
  return vm.set_clock_ns(clocks.kvm_ns);
}

}  // namespace microvm::vmm::x86_64
