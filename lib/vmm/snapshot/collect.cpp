#include "vmm/snapshot/collect.hpp"

#include <sys/stat.h>

#include "state/sections.hpp"
#include "vmm/arch/arch.hpp"
#include "vmm/snapshot/machine_state.hpp"

namespace microvm::vmm::snapshot {
namespace {

using state::SectionId;

Result<void> add_vcpus(Machine& machine, state::Writer& out) {
  const auto registers = arch::saved_registers(machine.kvm());
  uint32_t index = 0;
  for (const auto& thread : machine.vcpus()) {
    const auto vcpu = arch::save_vcpu(thread->vcpu(), registers);
    if (!vcpu) return base::fail(vcpu.error());
    arch::add_vcpu(out, index++, *vcpu);
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
  const auto clocks = machine.hold_clocks();
  if (!clocks) return base::fail(clocks.error());
  const wire::Shape& shape = machine.current_shape();
  state::Writer out;
  out.add(SectionId::machine, 0, kMachineVersion, encode_machine({shape, slots_of(shape)}));
  arch::add_cpu_table(out, machine.cpu_table());
  const auto capabilities =
      arch::save_capabilities(machine.vcpus().front()->vcpu(), machine.cpu_table());
  if (!capabilities) return base::fail(capabilities.error());
  if (*capabilities) arch::add_capabilities(out, **capabilities);
  const auto vm = arch::save_vm(machine.vm(), *clocks);
  if (!vm) return base::fail(vm.error());
  arch::add_vm(out, *vm);
  out.add(SectionId::serial, 0, Serial::kStateVersion, machine.serial().save());
  if (auto ok = add_vcpus(machine, out); !ok) return base::fail(ok.error());
  for (const auto& slot : machine.slots()) {
    if (auto ok = slot->transport()->save(out, slot->number()); !ok) return base::fail(ok.error());
  }
  return out.finish();
}

}  // namespace microvm::vmm::snapshot
