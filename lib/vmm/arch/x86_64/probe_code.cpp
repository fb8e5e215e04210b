#include "vmm/arch/x86_64/probe_code.hpp"

#include <array>

// Position-independent 64-bit code for ring 0. `check` opens a snippet and `passed` ends it; one
// that finds a wrong result jumps to its own `failed` and stops without the byte.
asm(R"(
  .pushsection .rodata.microvm_probe, "a", @progbits
  .macro check name
    .globl microvm_probe_\name
    .hidden microvm_probe_\name
    microvm_probe_\name:
  .endm
  .macro passed name
    movb $0x5a, %al
    outb %al, $0xf0
  1:
    hlt
    jmp 1b
    .globl microvm_probe_\name\()_end
    .hidden microvm_probe_\name\()_end
    microvm_probe_\name\()_end:
  .endm
  .macro enable_xsave
    movq %cr4, %rax
    orq $0x40600, %rax
    movq %rax, %cr4
    xorl %ecx, %ecx
    xorl %edx, %edx
    movl $3, %eax
    xsetbv
    movl $-1, %eax
    movl $-1, %edx
    movl $0x200000, %edi
  .endm

  check basic
    pushq $1
    popq %rax
  passed basic

  check cmpxchg16b
    movl $0x200000, %edi
    xorl %eax, %eax
    xorl %edx, %edx
    movl $7, %ebx
    movl $8, %ecx
    lock cmpxchg16b (%rdi)
    jnz 1f
    cmpq $8, 8(%rdi)
    jne 1f
  passed cmpxchg16b

  check int3
    xorl %ebx, %ebx
    int3
    cmpl $1, %ebx
    jne 1f
  passed int3

  check msr
    movl $0xc0000102, %ecx
    movl $0x1234, %eax
    xorl %edx, %edx
    wrmsr
    swapgs
    swapgs
    rdmsr
    cmpl $0x1234, %eax
    jne 1f
  passed msr

  check paging
    movq %cr4, %rax
    orq $0x80, %rax
    movq %rax, %cr4
    movq %cr3, %rax
    movq %rax, %cr3
    movl $0x200000, %edi
    invlpg (%rdi)
    wbinvd
  passed paging

  check strings
    movl $0x200000, %edi
    movl $0x201000, %esi
    movl $64, %ecx
    cld
    rep movsb
    movl $1, %eax
    lock xaddq %rax, (%rdi)
    lock btsq $5, (%rdi)
  passed strings

  check popcnt
    movl $7, %eax
    popcntq %rax, %rax
    cmpl $3, %eax
    jne 1f
  passed popcnt

  check fxsave
    movq %cr4, %rax
    orq $0x600, %rax
    movq %rax, %cr4
    movl $0x200000, %edi
    fxsaveq (%rdi)
    fxrstorq (%rdi)
  passed fxsave

  check xsave
    enable_xsave
    xsave64 (%rdi)
    xrstor64 (%rdi)
  passed xsave

  check xsavec
    enable_xsave
    xsavec64 (%rdi)
    xrstor64 (%rdi)
  passed xsavec

  check xsaves
    xorl %eax, %eax
    xorl %edx, %edx
    movl $0xda0, %ecx
    wrmsr
    enable_xsave
    xsaves64 (%rdi)
    xrstors64 (%rdi)
  passed xsaves

  check handler
    incl %ebx
    iretq
    .globl microvm_probe_handler_end
    .hidden microvm_probe_handler_end
    microvm_probe_handler_end:

  .purgem check
  .purgem passed
  .purgem enable_xsave
  .popsection
)");

#define MICROVM_PROBE_CODE(name)                                                     \
  extern "C" {                                                                       \
  [[gnu::visibility("hidden")]] extern const std::byte microvm_probe_##name[];       \
  [[gnu::visibility("hidden")]] extern const std::byte microvm_probe_##name##_end[]; \
  }
MICROVM_PROBE_CODE(basic)
MICROVM_PROBE_CODE(cmpxchg16b)
MICROVM_PROBE_CODE(int3)
MICROVM_PROBE_CODE(msr)
MICROVM_PROBE_CODE(paging)
MICROVM_PROBE_CODE(strings)
MICROVM_PROBE_CODE(popcnt)
MICROVM_PROBE_CODE(fxsave)
MICROVM_PROBE_CODE(xsave)
MICROVM_PROBE_CODE(xsavec)
MICROVM_PROBE_CODE(xsaves)
MICROVM_PROBE_CODE(handler)
#undef MICROVM_PROBE_CODE

namespace microvm::vmm::x86_64 {
namespace {

std::span<const std::byte> between(const std::byte* begin, const std::byte* end) {
  return {begin, end};
}

}  // namespace

std::span<const ProbeCheck> probe_checks() {
  static const std::array kChecks = {
      ProbeCheck{"64-bit ring 0", between(microvm_probe_basic, microvm_probe_basic_end)},
      ProbeCheck{"lock cmpxchg16b", between(microvm_probe_cmpxchg16b, microvm_probe_cmpxchg16b_end),
                 "cx16"},
      ProbeCheck{"int3", between(microvm_probe_int3, microvm_probe_int3_end)},
      ProbeCheck{"wrmsr, swapgs", between(microvm_probe_msr, microvm_probe_msr_end)},
      ProbeCheck{"cr3, cr4, invlpg", between(microvm_probe_paging, microvm_probe_paging_end)},
      ProbeCheck{"rep movsb, lock xadd", between(microvm_probe_strings, microvm_probe_strings_end)},
      ProbeCheck{"popcnt", between(microvm_probe_popcnt, microvm_probe_popcnt_end), "popcnt"},
      ProbeCheck{"fxsave", between(microvm_probe_fxsave, microvm_probe_fxsave_end)},
      ProbeCheck{"xsave", between(microvm_probe_xsave, microvm_probe_xsave_end), "xsave"},
      ProbeCheck{"xsavec", between(microvm_probe_xsavec, microvm_probe_xsavec_end), "xsavec"},
      ProbeCheck{"xsaves", between(microvm_probe_xsaves, microvm_probe_xsaves_end), "xsaves"},
  };
  return kChecks;
}

std::span<const std::byte> probe_handler() {
  return between(microvm_probe_handler, microvm_probe_handler_end);
}

}  // namespace microvm::vmm::x86_64
