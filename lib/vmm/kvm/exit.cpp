// kvm_run → Exit. The guest cannot write kvm_run; KVM fills it before KVM_RUN returns.
#include <algorithm>
#include <cstdio>

#include "vmm/kvm/vcpu.hpp"

namespace microvm::vmm::kvm {
namespace {

Exit port_exit(kvm_run& run) {
  auto* data = reinterpret_cast<std::byte*>(&run) + run.io.data_offset;
  return {.kind = run.io.direction == KVM_EXIT_IO_IN ? Exit::Kind::pio_read : Exit::Kind::pio_write,
          .address = run.io.port,
          .data = {data, size_t{run.io.size} * run.io.count},
          .size = run.io.size,
          .detail = {}};
}

Exit mmio_exit(kvm_run& run) {
  auto* data = reinterpret_cast<std::byte*>(run.mmio.data);
  return {.kind = run.mmio.is_write != 0 ? Exit::Kind::mmio_write : Exit::Kind::mmio_read,
          .address = run.mmio.phys_addr,
          .data = {data, std::min<size_t>(run.mmio.len, sizeof run.mmio.data)},
          .size = run.mmio.len,
          .detail = {}};
}

std::string hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::string instruction_bytes(const kvm_run& run) {
  const auto& failure = run.emulation_failure;
  if (failure.ndata < 3) return "";
  if ((failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) == 0) return "";
  // KVM hands out what it fetched, not what it decoded; longer prefixes and opcodes are rare.
  constexpr size_t kShown = 8;
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(failure.insn_size, kShown); ++i) {
    char byte[4];
    std::snprintf(byte, sizeof byte, " %02x", failure.insn_bytes[i]);
    text += byte;
  }
  return text;
}

std::string describe_failure(const kvm_run& run) {
  switch (run.exit_reason) {
    case KVM_EXIT_INTERNAL_ERROR:
      if (run.internal.suberror == KVM_INTERNAL_ERROR_EMULATION) {
        return "kvm cannot emulate the instruction" + instruction_bytes(run);
      }
      return "kvm internal error " + std::to_string(run.internal.suberror);
    case KVM_EXIT_FAIL_ENTRY:
      return "kvm could not enter the guest, hardware reason " +
             hex(run.fail_entry.hardware_entry_failure_reason);
    case KVM_EXIT_UNKNOWN:
      return "kvm unknown exit, hardware reason " + hex(run.hw.hardware_exit_reason);
    default:
      return "unexpected kvm exit " + std::to_string(run.exit_reason);
  }
}

}  // namespace

Exit Vcpu::translate_exit() {
  switch (run_->exit_reason) {
    case KVM_EXIT_IO:
      return port_exit(*run_);
    case KVM_EXIT_MMIO:
      return mmio_exit(*run_);
    case KVM_EXIT_HLT:
      return {.kind = Exit::Kind::halt, .detail = {}};
    case KVM_EXIT_SHUTDOWN:
      return {.kind = Exit::Kind::shutdown, .detail = {}};
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
      return {.kind = Exit::Kind::interrupted, .detail = {}};
    default:
      return {.kind = Exit::Kind::failed, .detail = describe_failure(*run_)};
  }
}

}  // namespace microvm::vmm::kvm
