#include "vmm/snapshot/collect.hpp"

#include <sys/stat.h>

#include "state/sections.hpp"
#include "vmm/arch/x86_64/vcpu_state.hpp"
#include "vmm/arch/x86_64/vm_state.hpp"
#include "vmm/snapshot/machine_state.hpp"

namespace microvm::vmm::snapshot {
namespace {

using state::SectionId;

Result<void> add_vcpus(Machine& machine, state::Writer& out) {
  const auto msrs = x86_64::saved_msrs(machine.kvm().msr_indices());
  uint32_t index = 0;
  for (const auto& thread : machine.vcpus()) {
    const auto vcpu = x86_64::save_vcpu(thread->vcpu(), msrs);
    if (!vcpu) return base::fail(vcpu.error());
    out.add(SectionId::vcpu, index++, x86_64::kVcpuStateVersion, x86_64::encode(*vcpu));
  }
  return {};
}

}  // namespace

Result<void> check_state_file(int fd) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return base::fail_errno("state file");
  if (S_ISREG(info.st_mode) && info.st_size == 0) return {};
  return base::fail(ErrorCode::invalid_argument, "state file: not an empty regular file");
}

Result<wire::Bytes> collect_state(Machine& machine) {
  if (machine.has_ended()) return base::fail(ErrorCode::vm_gone, "the vm has ended");
  const auto clock_ns = machine.hold_clocks();
  if (!clock_ns) return base::fail(clock_ns.error());
  const wire::Shape& shape = machine.current_shape();
  state::Writer out;
  out.add(SectionId::machine, 0, kMachineVersion, encode_machine({shape, slots_of(shape)}));
  out.add(SectionId::cpuid, 0, x86_64::kCpuidVersion, machine.cpuid().encode());
  auto vm = x86_64::save_vm(machine.vm());
  if (!vm) return base::fail(vm.error());
  vm->clock_ns = *clock_ns;
  out.add(SectionId::interrupt_chips, 0, x86_64::kChipsVersion, x86_64::encode_chips(*vm));
  out.add(SectionId::clock, 0, x86_64::kClockVersion, x86_64::encode_clock(*vm));
  out.add(SectionId::serial, 0, Serial::kStateVersion, machine.serial().save());
  if (auto ok = add_vcpus(machine, out); !ok) return base::fail(ok.error());
  for (const auto& slot : machine.slots()) {
    if (auto ok = slot->transport()->save(out, slot->number()); !ok) return base::fail(ok.error());
  }
  return out.finish();
}

}  // namespace microvm::vmm::snapshot
