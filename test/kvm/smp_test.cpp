// Several processors at once: they count together with locked instructions and interrupt each other
// while they are stopped, captured, and go on as clones. What each has in its registers and what
// all have in memory must belong together, however often.
#include <unistd.h>

#include <memory>
#include <numeric>
#include <vector>

#include "captured.hpp"
#include "state_file.hpp"
#include "vmm/arch/x86_64/vcpu_state.hpp"

using namespace microvm;
using namespace microvm::vmm;
using namespace microvm::vmm::test;
using state::SectionId;
using x86_64::VcpuState;

// r12 is the processor's number and r13 its count. At 0x400000 stands the count of all, at 0x400800
// how many there are (0: nobody is interrupted), at 0x400840 how often one was interrupted, from
// 0x401000 on the count of each, 64 bytes apart. The count of all goes first. Interrupts by the
// x2APIC's command register.
asm(R"(
  .pushsection .rodata.smp_test, "a", @progbits
  together_guest:
    movl $0x400000, %edi
  1:
    lock incq (%rdi)
    incq %r13
    movq %r12, %rax
    shlq $6, %rax
    movq %r13, 0x1000(%rdi,%rax)
    testb $0x3f, %r13b
    jnz 1b
    movq 0x800(%rdi), %rcx
    testq %rcx, %rcx
    jz 3f
    leaq 1(%r12), %rdx
    cmpq %rcx, %rdx
    jb 2f
    xorl %edx, %edx
  2:
    movl $0x4040, %eax
    movl $0x830, %ecx
    wrmsr
    sti
    nop
    nop
    cli
  3:
    testq %r12, %r12
    jnz 1b
    movb $0x2e, %al
    movw $0x3f8, %dx
    outb %al, %dx
    jmp 1b
  together_handler:
    pushq %rax
    pushq %rcx
    pushq %rdx
    lock incq 0x840(%rdi)
    movl $0x80b, %ecx
    xorl %eax, %eax
    xorl %edx, %edx
    wrmsr
    popq %rdx
    popq %rcx
    popq %rax
    iretq
  together_guest_end:
  .popsection
)");
extern "C" {
extern const std::byte together_guest[], together_handler[], together_guest_end[];
}

namespace {

constexpr uint64_t kAll = 0x400000, kProcessors = 0x400800, kInterrupts = 0x400840;
constexpr uint64_t kIdt = 0x402000, kStacks = 0x410000;
constexpr uint64_t kVector = 0x40;
constexpr uint16_t kCodeSegment = 0x10;
constexpr uint64_t kX2Apic = 1u << 10, kBootProcessor = 1u << 8;
constexpr size_t kSpuriousVector = 0xf0;

constexpr uint64_t count_at(uint32_t processor) {
  return 0x401000 + uint64_t{processor} * 64;
}

void put_quad(const base::Fd& memory, uint64_t address, uint64_t value) {
  REQUIRE(::pwrite(memory.get(), &value, sizeof value, static_cast<off_t>(address)) ==
          sizeof value);
}

// SDM vol. 3 §6.14.1: a 64-bit interrupt gate.
void put_gate(const base::Fd& memory) {
  const uint64_t handler =
      Code::kLoadAddress + static_cast<uint64_t>(together_handler - together_guest);
  const uint64_t low = (handler & 0xffff) | uint64_t{kCodeSegment} << 16 | uint64_t{0x8e00} << 32 |
                       (handler >> 16 & 0xffff) << 48;
  put_quad(memory, kIdt + kVector * 16, low);
  put_quad(memory, kIdt + kVector * 16 + 8, handler >> 32);
}

VcpuState vcpu_of(const std::string& state, uint32_t index) {
  auto vcpu = x86_64::decode_vcpu(body_of(state, SectionId::vcpu, index));
  REQUIRE(vcpu);
  return std::move(*vcpu);
}

// Takes interrupts from now on.
void take_interrupts(VcpuState& vcpu) {
  constexpr uint32_t kEnabled = 0x1ff;
  vcpu.sregs.idt.base = kIdt;
  vcpu.sregs.idt.limit = (kVector + 1) * 16 - 1;
  vcpu.sregs.apic_base |= kX2Apic;
  std::memcpy(vcpu.lapic.regs + kSpuriousVector, &kEnabled, sizeof kEnabled);
}

// Another processor, at the start of the program of the first.
VcpuState started_like(const VcpuState& first, const VcpuState& own, uint32_t index) {
  VcpuState vcpu = first;
  vcpu.lapic = own.lapic;
  take_interrupts(vcpu);
  vcpu.sregs.apic_base &= ~kBootProcessor;
  vcpu.mp_state.mp_state = KVM_MP_STATE_RUNNABLE;
  vcpu.regs.rip = Code::kLoadAddress;
  vcpu.regs.rsp = kStacks + uint64_t{index} * 4096;
  vcpu.regs.r12 = index;
  vcpu.regs.r13 = 0;
  return vcpu;
}

struct Origin {
  base::Fd memory = memory_file();
  base::Fd state;
};

// The first one has booted and counts; the others are made to run by the state.
Origin origin_of(const TinyShape& shape) {
  Origin origin;
  const base::Fd state_fd = memory_file();
  WorkerProcess worker;
  worker.run(Code().append({together_guest, together_guest_end}), shape);
  worker.kernel_log(5);
  worker.owner().call_for<wire::SnapshotReply>(wire::SnapshotRequest{},
                                               {origin.memory.get(), state_fd.get()});
  std::string state = read_file(state_fd.get());
  put_quad(origin.memory, kProcessors, shape.vcpus);
  put_gate(origin.memory);
  VcpuState first = vcpu_of(state, 0);
  take_interrupts(first);
  first.regs.rsp = kStacks;
  state = with_body(state, SectionId::vcpu, 0, x86_64::encode(first));
  for (uint32_t index = 1; index < shape.vcpus; ++index) {
    const VcpuState other = started_like(first, vcpu_of(state, index), index);
    state = with_body(state, SectionId::vcpu, index, x86_64::encode(other));
  }
  origin.state = memory_file(state);
  return origin;
}

// Of each processor, and of all of them together.
struct Counts {
  std::vector<uint64_t> own;
  uint64_t interrupts = 0;
};

Counts checked_counts(const Captured& captured, const TinyShape& shape) {
  const std::string state = read_file(captured.state.get());
  Counts counts;
  for (uint32_t index = 0; index < shape.vcpus; ++index) {
    counts.own.push_back(captured_quad(captured, count_at(index)));
    // It has counted, and not yet said so.
    const uint64_t in_register = vcpu_of(state, index).regs.r13;
    CHECK(in_register >= counts.own.back());
    CHECK(in_register <= counts.own.back() + 1);
  }
  const uint64_t sum = std::accumulate(counts.own.begin(), counts.own.end(), uint64_t{0});
  const uint64_t all = captured_quad(captured, kAll);
  CHECK(all >= sum);
  CHECK(all <= sum + shape.vcpus);
  counts.interrupts = captured_quad(captured, kInterrupts);
  return counts;
}

// Until every one of them has gone on, captured again and again while they run.
Captured captured_when_all_went_on(WorkerProcess& worker, const TinyShape& shape, Counts& counts) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  for (;;) {
    worker.kernel_log(worker.kernel_log().size() + 5);
    auto captured = capture(worker.owner(), kAllPages);
    const Counts now = checked_counts(captured, shape);
    bool all = now.interrupts > counts.interrupts;
    for (size_t i = 0; i < now.own.size(); ++i) {
      CHECK(now.own[i] >= counts.own[i]);
      all &= now.own[i] > counts.own[i];
    }
    if (all) {
      counts = now;
      return captured;
    }
    REQUIRE_MESSAGE(std::chrono::steady_clock::now() < deadline, "a processor stands still");
  }
}

void run_lives(uint16_t vcpus, int lives) {
  const TinyShape shape{.vcpus = vcpus};
  const Origin origin = origin_of(shape);
  Counts counts{.own = std::vector<uint64_t>(vcpus), .interrupts = 0};
  auto worker = std::make_unique<WorkerProcess>();
  worker->shape(shape);
  REQUIRE(error_code(worker->restore(origin.memory.get(), origin.state.get())) == ErrorCode{});
  for (int life = 0; life < lives; ++life) {
    INFO(vcpus << " vcpus, life " << life);
    auto captured = captured_when_all_went_on(*worker, shape, counts);
    for (int pause = 0; pause < 5; ++pause) {
      worker->owner().call_for<wire::OkReply>(wire::PauseRequest{});
      worker->owner().call_for<wire::OkReply>(wire::ResumeRequest{});
    }
    captured = captured_when_all_went_on(*worker, shape, counts);
    worker = std::make_unique<WorkerProcess>();
    REQUIRE(start_clone(*worker, origin.memory, {&captured}, shape) == ErrorCode{});
  }
  captured_when_all_went_on(*worker, shape, counts);
}

}  // namespace

TEST_CASE("smp: two processors count and interrupt each other over many lives") {
  run_lives(2, 4);
}

TEST_CASE("smp: four processors do") {
  run_lives(4, 3);
}

TEST_CASE("smp: eight processors do") {
  run_lives(8, 2);
}
