#include "vmm/snapshot/save.hpp"

#include <sys/stat.h>

#include "state/memory_file.hpp"
#include "state/sections.hpp"
#include "sys/file.hpp"
#include "vmm/arch/x86_64/vcpu_state.hpp"
#include "vmm/arch/x86_64/vm_state.hpp"
#include "vmm/snapshot/machine_state.hpp"

namespace microvm::vmm::snapshot {
namespace {

using state::SectionId;

Result<void> check_empty(int fd) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return base::fail_errno("state file");
  if (S_ISREG(info.st_mode) && info.st_size == 0) return {};
  return base::fail(ErrorCode::invalid_argument, "state file: not an empty regular file");
}

Result<uint64_t> write_memory(const GuestMemory& memory, int fd) {
  if (auto ok = state::make_sparse(fd, memory.size()); !ok) return base::fail(ok.error());
  const auto ranges = memory.data_ranges();
  if (!ranges) return base::fail(ranges.error());
  // The file has the regions one after another, as they stand in this process.
  const std::byte* first = memory.regions().front().host;
  uint64_t data_bytes = 0;
  for (const PageRange& range : *ranges) {
    const auto written =
        state::write_sparse(fd, range.offset, wire::ByteView(first + range.offset, range.length));
    if (!written) return base::fail(written.error());
    data_bytes += *written;
  }
  return data_bytes;
}

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

Result<wire::Bytes> collect_state(Machine& machine) {
  state::Writer out;
  out.add(SectionId::machine, 0, kMachineVersion, encode_shape(machine.current_shape()));
  out.add(SectionId::cpuid, 0, x86_64::kCpuidVersion, machine.cpuid().encode());
  const auto vm = x86_64::save_vm(machine.vm());
  if (!vm) return base::fail(vm.error());
  out.add(SectionId::interrupt_chips, 0, x86_64::kChipsVersion, x86_64::encode_chips(*vm));
  out.add(SectionId::clock, 0, x86_64::kClockVersion, x86_64::encode_clock(*vm));
  out.add(SectionId::serial, 0, Serial::kStateVersion, machine.serial().save());
  if (auto ok = add_vcpus(machine, out); !ok) return base::fail(ok.error());
  for (const auto& slot : machine.slots()) {
    if (auto ok = slot->transport->save(out, slot->number); !ok) return base::fail(ok.error());
  }
  return out.finish();
}

}  // namespace

// Once the devices are drained neither memory nor state changes any more, but the guest's clock
// does: its state is read first, or the guest would see the time the memory took to write.
Result<Saved> save(Machine& machine, int memory_fd, int state_fd) {
  if (auto ok = check_empty(state_fd); !ok) return base::fail(ok.error());
  if (auto ok = machine.quiesce(); !ok) return base::fail(ok.error());
  const auto bytes = collect_state(machine);
  if (!bytes) return base::fail(bytes.error());
  const auto data_bytes = write_memory(machine.memory(), memory_fd);
  if (!data_bytes) return base::fail(data_bytes.error());
  if (auto ok = sys::pwrite_full(state_fd, *bytes, 0); !ok) return base::fail(ok.error());
  return Saved{machine.memory().size(), *data_bytes};
}

}  // namespace microvm::vmm::snapshot
