#include "vmm/snapshot/restore.hpp"

#include <sys/stat.h>

#include <bit>
#include <optional>

#include "state/sections.hpp"
#include "sys/file.hpp"
#include "vmm/arch/arch.hpp"
#include "vmm/platform/generation_id.hpp"
#include "vmm/snapshot/machine_state.hpp"

namespace microvm::vmm::snapshot {
namespace {

using state::SectionId;
using Clock = std::chrono::steady_clock;

// 64 vCPUs of 16 KiB each and every device at its bounds stay far below it.
constexpr off_t kMaxStateBytes = 16 << 20;

Result<wire::Bytes> read_state_file(int fd) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return base::fail_errno("state file");
  if (!S_ISREG(info.st_mode) || info.st_size > kMaxStateBytes) {
    return base::fail(ErrorCode::corrupt, "state file: not a regular file below 16 MiB");
  }
  wire::Bytes bytes(static_cast<size_t>(info.st_size));
  if (auto ok = sys::pread_full(fd, bytes, 0); !ok) return base::fail(ok.error());
  return bytes;
}

// Everything that is not a device, decoded and checked before any of it is applied.
struct Core {
  uint32_t slots = 0;
  arch::CpuTable cpu_table;
  std::optional<uint64_t> capabilities;
  arch::VmState vm;
  std::vector<arch::VcpuState> vcpus;
};

// "512 MiB", and "512 (2048) MiB" where it may grow.
std::string describe(uint64_t baseline, uint64_t limit, const char* unit) {
  const std::string peak = limit == baseline ? "" : " (" + std::to_string(limit) + ")";
  return std::to_string(baseline) + peak + unit;
}

std::string describe(const Shape& shape) {
  return describe(shape.memory_bytes >> 20, shape.memory_limit() >> 20, " MiB, ") +
         describe(shape.vcpus, shape.vcpu_limit(), " vcpus, ") + std::to_string(shape.disks) +
         " disks, " + std::to_string(shape.nets) + " nets, devices on " +
         (shape.transport == wire::TransportKind::pci ? "pci" : "mmio");
}

// Of the peaks, too, the guest was told when it booted: what it can grow to and where.
Result<void> check_shape(const Shape& snapshot, const Shape& ours) {
  if (snapshot == ours) return {};
  return base::fail(ErrorCode::invalid_argument, "the snapshot is of a machine with " +
                                                     describe(snapshot) + ", this one has " +
                                                     describe(ours));
}

// A device that the guest was not told of, because the library had none of its kind, stays as it
// was made.
Result<void> check_slots(uint32_t snapshot, uint32_t ours) {
  const uint32_t missing = snapshot & ~ours;
  if (missing == 0) return {};
  return base::fail(ErrorCode::unsupported,
                    "state file: the machine has a device in slot " +
                        std::to_string(std::countr_zero(missing)) +
                        " that this library does not have; use the library that made the snapshot");
}

// The slots that the guest knows.
Result<uint32_t> read_machine(const state::Reader& in, const Shape& ours) {
  const auto section = in.find(SectionId::machine, 0, kMachineVersion);
  if (!section) return base::fail(section.error());
  const auto state = decode_machine(section->body, section->version);
  if (!state) return base::fail(state.error());
  if (auto ok = check_shape(state->shape, ours); !ok) return base::fail(ok.error());
  if (auto ok = check_slots(state->slots, slots_of(ours)); !ok) return base::fail(ok.error());
  return state->slots;
}

// Against all that this host can show: an older library may have hidden less of it.
Result<void> check_cpu(const arch::CpuTable& snapshot, Machine& machine) {
  if (snapshot == machine.cpu_table()) return {};
  return arch::check_compatible(
      snapshot, arch::CpuTable::for_host(machine.kvm(), machine.current_shape().vcpu_limit(),
                                         arch::CpuTable::Guest::of_snapshot));
}

// Empty: as this host's are, or the guest has not seen any.
Result<std::optional<uint64_t>> read_capabilities(const state::Reader& in, const Machine& machine) {
  auto wanted = arch::read_capabilities(in);
  if (!wanted || !*wanted) return wanted;
  const uint64_t host = machine.kvm().arch_capabilities();
  if (auto ok = arch::check_capabilities(**wanted, host); !ok) return base::fail(ok.error());
  return **wanted == host ? std::nullopt : *wanted;
}

Result<Core> decode_core(const state::Reader& in, Machine& machine) {
  const auto slots = read_machine(in, machine.current_shape());
  if (!slots) return base::fail(slots.error());
  auto cpu_table = arch::read_cpu_table(in);
  if (!cpu_table) return base::fail(cpu_table.error());
  if (auto ok = check_cpu(*cpu_table, machine); !ok) return base::fail(ok.error());
  const auto capabilities = read_capabilities(in, machine);
  if (!capabilities) return base::fail(capabilities.error());
  auto vm = arch::read_vm(in);
  if (!vm) return base::fail(vm.error());
  Core core{*slots, std::move(*cpu_table), *capabilities, *vm, {}};
  for (uint32_t index = 0; index < machine.vcpus().size(); ++index) {
    auto vcpu = arch::read_vcpu(in, index);
    if (!vcpu) return base::fail(vcpu.error());
    core.vcpus.push_back(std::move(*vcpu));
  }
  return core;
}

Result<void> back_memory(GuestMemory& memory, const RestoreFiles& files) {
  if (auto ok = memory.back_with_file(files.memory); !ok) return ok;
  for (const base::Fd& overlay : files.overlays) {
    if (auto ok = memory.add_overlay(overlay.get()); !ok) return ok;
  }
  return {};
}

Result<void> apply_cpu_table(Machine& machine, arch::CpuTable table) {
  if (table == machine.cpu_table()) return {};
  uint32_t index = 0;
  for (const auto& thread : machine.vcpus()) {
    if (auto ok = arch::set_cpu(thread->vcpu(), table, index++); !ok) return ok;
  }
  machine.cpu_table() = std::move(table);
  return {};
}

Result<void> apply_core(Machine& machine, Core core) {
  if (auto ok = apply_cpu_table(machine, std::move(core.cpu_table)); !ok) return ok;
  if (auto ok = arch::restore_vm(machine.vm(), core.vm); !ok) return ok;
  std::vector<kvm::Vcpu*> vcpus;
  for (const auto& thread : machine.vcpus()) vcpus.push_back(&thread->vcpu());
  if (auto ok = arch::restore_tsc(vcpus, core.vcpus.front()); !ok) return ok;
  for (size_t index = 0; index < vcpus.size(); ++index) {
    if (core.capabilities) {
      if (auto ok = arch::set_capabilities(*vcpus[index], *core.capabilities); !ok) return ok;
    }
    if (auto ok = arch::restore_vcpu(*vcpus[index], core.vcpus[index]); !ok) return ok;
  }
  return {};
}

Result<void> restore_devices(const state::Reader& in, uint32_t slots, Machine& machine) {
  const auto serial = in.find(SectionId::serial, 0, Serial::kStateVersion);
  if (!serial) return base::fail(serial.error());
  if (auto ok = machine.serial().restore(serial->body); !ok) return ok;
  for (const auto& slot : machine.slots()) {
    if ((slots >> slot->number() & 1) == 0) continue;
    if (auto ok = slot->transport()->restore(in, slot->number()); !ok) return ok;
  }
  return {};
}

}  // namespace

Result<RestoreTimes> restore(Machine& machine, const RestoreFiles& files) {
  RestoreTimes times;
  if (auto ok = machine.make_devices(); !ok) return base::fail(ok.error());
  const auto bytes = read_state_file(files.state);
  if (!bytes) return base::fail(bytes.error());
  const auto in = state::Reader::parse(*bytes);
  if (!in) return base::fail(in.error());
  auto core = decode_core(*in, machine);
  if (!core) return base::fail(core.error());
  times.checked = Clock::now();
  if (auto ok = back_memory(machine.memory(), files); !ok) return base::fail(ok.error());
  times.mapped = Clock::now();
  const uint32_t slots = core->slots;
  if (auto ok = apply_core(machine, std::move(*core)); !ok) return base::fail(ok.error());
  if (auto ok = restore_devices(*in, slots, machine); !ok) return base::fail(ok.error());
  auto renewed =
      renew_generation_id(machine.memory(), arch::kGenerationIdPage, machine.generation_irq());
  if (!renewed) return base::fail(renewed.error());
  times.applied = Clock::now();
  return times;
}

}  // namespace microvm::vmm::snapshot
