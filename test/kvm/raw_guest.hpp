// A vCPU, 4 MiB of memory and machine code from the assembler: KVM and the architecture code
// without a machine around them.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>

#include <span>
#include <utility>

#include "vmm/arch/x86_64/cpuid.hpp"
#include "vmm/arch/x86_64/long_mode.hpp"
#include "vmm/kvm/kvm.hpp"
#include "vmm/memory/guest_memory.hpp"

namespace microvm::vmm::test {

inline constexpr uint64_t kRawCode = 0x100000;
inline constexpr uint64_t kRawStack = 0x1ff000;
inline constexpr uint64_t kRawMemoryBytes = 4 << 20;
// In the mapped first GiB, and no memory: an access is an MMIO exit.
inline constexpr uint64_t kRawDevice = 0x10000000;

template <class T>
T must(Result<T> result) {
  REQUIRE_MESSAGE(result.has_value(), (result ? "" : result.error().message));
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

inline const kvm::Kvm& shared_kvm() {
  static const kvm::Kvm kKvm =
      must(kvm::Kvm::open(base::Fd(::open("/dev/kvm", O_RDWR | O_CLOEXEC))));
  return kKvm;
}

struct RawGuest {
  enum class Chips { no, yes };
  GuestMemory memory = must(GuestMemory::reserve(kRawMemoryBytes));
  kvm::Vm vm = must(shared_kvm().create_vm());
  kvm::Vcpu vcpu;

  // Shaped, with nothing behind the memory yet.
  explicit RawGuest(Chips chips = Chips::no) : vcpu(make_vcpu(chips)) {}

  // Finishes an access whose exit run() reported, without executing anything further.
  void finish_access() {
    vcpu.request_exit();
    REQUIRE(vcpu.run().kind == kvm::Exit::Kind::interrupted);
    vcpu.clear_exit_request();
  }

  // In 64-bit mode at the start of `code`.
  explicit RawGuest(std::span<const std::byte> code, Chips chips = Chips::no) : RawGuest(chips) {
    must(memory.back_with_zeros());
    must(x86_64::write_long_mode_tables(memory));
    CHECK(memory.write_bytes(kRawCode, code));
    kvm_regs regs{};
    regs.rip = kRawCode;
    regs.rsp = kRawStack;
    must(x86_64::enter_long_mode(vcpu, regs));
  }

 private:
  kvm::Vcpu make_vcpu(Chips chips) {
    must(vm.add_memory_slot(0, memory.regions().front()));
    if (chips == Chips::yes) must(vm.create_interrupt_chips());
    kvm::Vcpu out = must(vm.create_vcpu(0));
    must(out.set_cpuid(x86_64::CpuidTable::for_host(shared_kvm(), 1).for_vcpu(0)));
    return out;
  }
};

}  // namespace microvm::vmm::test
