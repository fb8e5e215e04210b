// vCPU and VM state out of one KVM guest and into another.
#include "vmm/arch/x86_64/vcpu_state.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "raw_guest.hpp"
#include "vmm/arch/x86_64/vm_state.hpp"

using namespace microvm;
using namespace microvm::vmm;
using namespace microvm::vmm::test;
using Kind = kvm::Exit::Kind;

// Counts in rbx and in memory and shows the sum of both and of what xmm0 got once. KERNEL_GS_BASE
// is set once too. The instructions are such that even a KVM that emulates ring 0 knows them.
asm(R"(
  .pushsection .rodata.vcpu_state_test, "a", @progbits
  counting_guest:
    movq %cr4, %rax
    orq $0x600, %rax
    movq %rax, %cr4
    movl $0xc0000102, %ecx
    movl $0x5000, %eax
    xorl %edx, %edx
    wrmsr
    movl $0x200000, %edi
    xorl %ebx, %ebx
    movl $1000, 16(%rdi)
    movdqu 16(%rdi), %xmm0
    movl $0, 16(%rdi)
  1:
    incl %ebx
    incl (%rdi)
    movdqu %xmm0, 32(%rdi)
    movl 32(%rdi), %eax
    addl %ebx, %eax
    addl (%rdi), %eax
    outl %eax, $0x10
    jmp 1b
  counting_guest_end:

  asking_guest:
    inb $0x10, %al
    outb %al, $0x11
    hlt
  asking_guest_end:
  .popsection
)");
extern "C" {
extern const std::byte counting_guest[], counting_guest_end[], asking_guest[], asking_guest_end[];
}

namespace {

constexpr uint32_t kKernelGsBase = 0xc0000102;

uint32_t next_number(kvm::Vcpu& vcpu) {
  const kvm::Exit exit = vcpu.run();
  REQUIRE_MESSAGE(exit.kind == Kind::pio_write, exit.detail);
  uint32_t value = 0;
  REQUIRE(exit.data.size() == sizeof value);
  std::memcpy(&value, exit.data.data(), sizeof value);
  return value;
}

constexpr uint32_t number(uint32_t round) {
  return 1000 + 2 * round;
}

struct Saved {
  wire::Bytes vcpu, chips, clock;
  base::Fd memory;
};

Saved save(RawGuest& guest) {
  const auto msrs = x86_64::saved_msrs(shared_kvm().msr_indices());
  guest.finish_access();
  Saved saved;
  saved.vcpu = x86_64::encode(must(x86_64::save_vcpu(guest.vcpu, msrs)));
  const auto vm = must(x86_64::save_vm(guest.vm, {.kvm_ns = must(guest.vm.clock_ns())}));
  saved.chips = x86_64::encode_chips(vm);
  saved.clock = x86_64::encode_clock(vm);
  saved.memory.reset(::memfd_create("memory", MFD_CLOEXEC));
  const auto& region = guest.memory.regions().front();
  REQUIRE(::write(saved.memory.get(), region.host, region.size) ==
          static_cast<ssize_t>(region.size));
  return saved;
}

void restore(RawGuest& guest, const Saved& saved) {
  must(guest.memory.back_with_file(saved.memory.get()));
  must(x86_64::restore_vm(guest.vm, must(x86_64::decode_vm(saved.chips, saved.clock))));
  const auto state = must(x86_64::decode_vcpu(saved.vcpu));
  kvm::Vcpu* const vcpus[] = {&guest.vcpu};
  must(x86_64::restore_tsc(vcpus, state));
  must(x86_64::restore_vcpu(guest.vcpu, state));
}

}  // namespace

TEST_CASE("vcpu state: every clone goes on counting where the origin was, and so does the origin") {
  RawGuest origin({counting_guest, counting_guest_end}, RawGuest::Chips::yes);
  for (uint32_t i = 1; i <= 5; ++i) CHECK(next_number(origin.vcpu) == number(i));
  const Saved saved = save(origin);
  for (int clone_number = 0; clone_number < 2; ++clone_number) {
    RawGuest clone(RawGuest::Chips::yes);
    restore(clone, saved);
    for (uint32_t i = 6; i <= 9; ++i) CHECK(next_number(clone.vcpu) == number(i));
  }
  CHECK(next_number(origin.vcpu) == number(6));
}

TEST_CASE("vcpu state: a clone saved before it ever ran is the same snapshot again") {
  RawGuest origin({counting_guest, counting_guest_end}, RawGuest::Chips::yes);
  CHECK(next_number(origin.vcpu) == number(1));
  const Saved first = save(origin);
  RawGuest clone(RawGuest::Chips::yes);
  restore(clone, first);
  const Saved second = save(clone);
  const auto a = must(x86_64::decode_vcpu(first.vcpu));
  const auto b = must(x86_64::decode_vcpu(second.vcpu));
  CHECK(a.regs.rip == b.regs.rip);
  CHECK(a.regs.rbx == b.regs.rbx);
  CHECK(a.xsave == b.xsave);
  CHECK(first.chips == second.chips);
}

TEST_CASE("vcpu state: model specific registers and time move along") {
  RawGuest origin({counting_guest, counting_guest_end}, RawGuest::Chips::yes);
  next_number(origin.vcpu);
  const Saved saved = save(origin);
  const auto state = must(x86_64::decode_vcpu(saved.vcpu));
  const auto gs = std::ranges::find(state.msrs, kKernelGsBase, &kvm_msr_entry::index);
  REQUIRE(gs != state.msrs.end());
  CHECK(gs->data == 0x5000);

  RawGuest clone(RawGuest::Chips::yes);
  restore(clone, saved);
  kvm_msr_entry entry{.index = kKernelGsBase, .reserved = 0, .data = 0};
  CHECK(must(clone.vcpu.read_msrs({&entry, 1})) == 1);
  CHECK(entry.data == 0x5000);
  constexpr uint64_t kSecond = 1'000'000'000;
  const uint64_t clock = must(clone.vm.clock_ns());
  const uint64_t saved_clock = must(x86_64::decode_vm(saved.chips, saved.clock)).clock_ns;
  CHECK(clock >= saved_clock);
  CHECK(clock < saved_clock + 10 * kSecond);
}

TEST_CASE("vcpu state: an answered port read is in the registers, not lost") {
  RawGuest origin({asking_guest, asking_guest_end}, RawGuest::Chips::yes);
  const kvm::Exit exit = origin.vcpu.run();
  REQUIRE(exit.kind == Kind::pio_read);
  exit.data[0] = std::byte{77};
  const Saved saved = save(origin);
  RawGuest clone(RawGuest::Chips::yes);
  restore(clone, saved);
  const kvm::Exit answer = clone.vcpu.run();
  REQUIRE(answer.kind == Kind::pio_write);
  CHECK(answer.data[0] == std::byte{77});
}

TEST_CASE("vcpu state: an MSR this KVM refuses is an error when it matters") {
  RawGuest origin({counting_guest, counting_guest_end}, RawGuest::Chips::yes);
  next_number(origin.vcpu);
  auto state = must(x86_64::decode_vcpu(save(origin).vcpu));
  constexpr uint32_t kNoMsr = 0xc0dec0de;
  RawGuest clone(RawGuest::Chips::yes);
  must(clone.memory.back_with_zeros());
  state.msrs.insert(state.msrs.begin(), {.index = kNoMsr, .reserved = 0, .data = 0});
  CHECK(x86_64::restore_vcpu(clone.vcpu, state));
  state.msrs.front().data = 1;
  const auto refused = x86_64::restore_vcpu(clone.vcpu, state);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::incompatible_cpu);
  CHECK(refused.error().message.find("0xc0dec0de") != std::string::npos);
}

TEST_CASE("vcpu state: reading skips MSRs KVM refuses") {
  RawGuest origin({counting_guest, counting_guest_end}, RawGuest::Chips::yes);
  const std::array<uint32_t, 3> wanted = {0x10, 0xc0dec0de, kKernelGsBase};
  next_number(origin.vcpu);
  const auto state = must(x86_64::save_vcpu(origin.vcpu, wanted));
  REQUIRE(state.msrs.size() == 2);
  CHECK(state.msrs[1].index == kKernelGsBase);
}
