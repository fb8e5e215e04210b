#include "vmm/arch/x86_64/probe.hpp"

#include <array>
#include <string>
#include <utility>

#include "vmm/arch/x86_64/boot.hpp"
#include "vmm/arch/x86_64/cpuid.hpp"
#include "vmm/arch/x86_64/long_mode.hpp"
#include "vmm/memory/guest_memory.hpp"

namespace microvm::vmm::x86_64 {
namespace {

constexpr uint64_t kIdt = 0x1000;
constexpr uint64_t kBreakpointVector = 3;

// SDM vol. 3 §6.14.1: a 64-bit interrupt gate.
std::array<uint64_t, 2> gate(uint64_t handler) {
  constexpr uint64_t kPresentInterruptGate = 0x8e00;
  return {(handler & 0xffff) | uint64_t{kCodeSelector} << 16 | kPresentInterruptGate << 32 |
              (handler >> 16 & 0xffff) << 48,
          handler >> 32};
}

// The machine all checks share; each check has a vCPU of its own, so that one left in ruins does
// not matter to the next.
class Bench {
 public:
  static Result<Bench> create(const kvm::Kvm& kvm) {
    auto memory = make_memory();
    if (!memory) return base::fail(memory.error());
    auto vm = kvm.create_vm();
    if (!vm) return base::fail(vm.error());
    if (auto ok = vm->add_memory_slot(0, memory->regions().front()); !ok) {
      return base::fail(ok.error());
    }
    Bench bench(std::move(*memory), std::move(*vm), CpuidTable::for_host(kvm, 1));
    bench.write(kProbeHandler, probe_handler());
    const std::array<uint64_t, 2> breakpoint = gate(kProbeHandler);
    bench.write(kIdt + kBreakpointVector * 16, std::as_bytes(std::span(breakpoint)));
    return bench;
  }

  // What happened instead of passing; empty: passed. Errors: KVM refused to set the guest up.
  Result<std::string> run(const ProbeCheck& check) {
    static constexpr std::array<std::byte, 8192> kZeros{};
    write(kProbeScratch, kZeros);
    write(kProbeCode, check.code);
    auto vcpu = vm_.create_vcpu(vcpus_++);
    if (!vcpu) return base::fail(vcpu.error());
    if (auto ok = set_up(*vcpu); !ok) return base::fail(ok.error());
    return outcome(vcpu->run());
  }

  [[nodiscard]] bool has(const char* feature) const {
    return feature == nullptr || has_feature(cpuid_, feature);
  }

 private:
  Bench(GuestMemory memory, kvm::Vm vm, CpuidTable cpuid)
      : memory_(std::move(memory)), vm_(std::move(vm)), cpuid_(std::move(cpuid)) {}

  static Result<GuestMemory> make_memory() {
    auto memory = GuestMemory::reserve(kProbeMemoryBytes);
    if (!memory) return memory;
    if (auto ok = memory->back_with_zeros(); !ok) return base::fail(ok.error());
    if (auto ok = write_long_mode_tables(*memory); !ok) return base::fail(ok.error());
    return memory;
  }

  void write(uint64_t address, std::span<const std::byte> bytes) {
    static_cast<void>(memory_.write_bytes(address, bytes));  // constants within the 4 MiB
  }

  // As a boot does it: what KVM shows and then refuses is found here.
  Result<void> set_up(kvm::Vcpu& vcpu) {
    if (auto ok = vcpu.set_cpuid(cpuid_.for_vcpu(0)); !ok) return ok;
    if (auto ok = set_firmware_state(vcpu, cpuid_); !ok) return ok;
    kvm_regs regs{};
    regs.rip = kProbeCode;
    regs.rsp = kProbeStack;
    if (auto ok = enter_long_mode(vcpu, regs); !ok) return ok;
    auto sregs = vcpu.sregs();
    if (!sregs) return base::fail(sregs.error());
    sregs->idt.base = kIdt;
    sregs->idt.limit = (kBreakpointVector + 1) * 16 - 1;
    return vcpu.set_sregs(*sregs);
  }

  static std::string outcome(const kvm::Exit& exit) {
    using Kind = kvm::Exit::Kind;
    switch (exit.kind) {
      case Kind::pio_write:
        if (exit.address == kProbePort && exit.data.front() == std::byte{kProbePassed}) return "";
        return "wrong result";
      case Kind::shutdown:
        return "triple fault";
      case Kind::halt:
        return "wrong result";
      case Kind::failed:
        return exit.detail;
      default:
        return "unexpected exit";
    }
  }

  GuestMemory memory_;
  kvm::Vm vm_;
  CpuidTable cpuid_;
  uint32_t vcpus_ = 0;
};

}  // namespace

Result<void> probe(const kvm::Kvm& kvm, std::span<const ProbeCheck> checks) {
  auto bench = Bench::create(kvm);
  if (!bench) return base::fail(bench.error());
  std::string failures;
  for (const ProbeCheck& check : checks) {
    if (!bench->has(check.feature)) continue;
    const auto wrong = bench->run(check);
    const std::string what = wrong ? *wrong : wrong.error().message;
    if (what.empty()) continue;
    failures += (failures.empty() ? "" : "; ") + std::string(check.name) + ": " + what;
  }
  if (failures.empty()) return {};
  return base::fail(ErrorCode::kvm_unsuitable, "/dev/kvm cannot run a stock kernel (" + failures +
                                                   "): use a machine with hardware virtualization");
}

}  // namespace microvm::vmm::x86_64
