// The probe of several vCPUs with programs of the test's own: it must tell good from bad.
#include "vmm/arch/x86_64/smp_probe.hpp"

#include <string>

#include "raw_guest.hpp"

using namespace microvm;
using namespace microvm::vmm;
using namespace microvm::vmm::test;
using namespace std::chrono_literals;
using x86_64::probe_smp;

// rdi: 0x200000; rsi: the vCPU's own count. The counts under a lock and by xadd are 0x58 and 0x100
// behind rdi, steps backwards at 0x48 and the most at 0x50.
asm(R"(
  .pushsection .rodata.smp_probe_test, "a", @progbits
  one_round:
    incq (%rsi)
    lock incq 0x58(%rdi)
    lock incq 0x100(%rdi)
    movb $0x5a, %al
    outb %al, $0xf0
    hlt
  one_round_end:

  lost_under_lock:
    incq (%rsi)
    lock incq 0x100(%rdi)
    outb %al, $0xf0
    hlt
  lost_under_lock_end:

  lost_by_xadd:
    incq (%rsi)
    lock incq 0x58(%rdi)
    outb %al, $0xf0
    hlt
  lost_by_xadd_end:

  time_backwards:
    incq (%rsi)
    lock incq 0x58(%rdi)
    lock incq 0x100(%rdi)
    movq $3, 0x48(%rdi)
    movq $77, 0x50(%rdi)
    outb %al, $0xf0
    hlt
  time_backwards_end:

  triple_fault:
    ud2
  triple_fault_end:

  stops_by_itself:
    hlt
  stops_by_itself_end:

  counts_nothing:
    outb %al, $0xf0
    hlt
  counts_nothing_end:

  never_stops:
    jmp never_stops
  never_stops_end:
  .popsection
)");
extern "C" {
extern const std::byte one_round[], one_round_end[], lost_under_lock[], lost_under_lock_end[],
    lost_by_xadd[], lost_by_xadd_end[], time_backwards[], time_backwards_end[], triple_fault[],
    triple_fault_end[], stops_by_itself[], stops_by_itself_end[], never_stops[], never_stops_end[],
    counts_nothing[], counts_nothing_end[];
}

namespace {

// The message; empty: it is content.
std::string smp_complaint(const std::byte* code, const std::byte* end, uint16_t vcpus = 3) {
  const auto result = probe_smp(shared_kvm(), vcpus, 1ms, {code, end});
  if (result) return {};
  CHECK(result.error().code == ErrorCode::kvm_unsuitable);
  return result.error().message;
}

}  // namespace

TEST_CASE("smp probe: it is content with what counts right, and names what does not") {
  CHECK(smp_complaint(one_round, one_round_end).empty());
  const std::string begin = "guests with several vCPUs: ";
  CHECK(smp_complaint(lost_under_lock, lost_under_lock_end) ==
        begin + "a count under a lock came to 0 in 3 rounds");
  CHECK(smp_complaint(lost_by_xadd, lost_by_xadd_end) == begin + "lock xadd came to 0 in 3 rounds");
  CHECK(smp_complaint(triple_fault, triple_fault_end) == begin + "triple fault");
  CHECK(smp_complaint(counts_nothing, counts_nothing_end) ==
        begin + "they do not all begin to run");
  CHECK(smp_complaint(stops_by_itself, stops_by_itself_end) == begin + "unexpected exit");
}

TEST_CASE("smp probe: time that goes backwards is told of") {
  const auto result = probe_smp(shared_kvm(), 2, 1ms, {time_backwards, time_backwards_end});
  REQUIRE(result);
  CHECK(result->rounds == 2);
  CHECK(result->tsc_backwards == 3);
  CHECK(result->most_backwards_ticks == 77);
}

TEST_CASE("smp probe: a vCPU that does not stop is stopped") {
  CHECK(smp_complaint(never_stops, never_stops_end, 2) ==
        "guests with several vCPUs: it does not stop");
}
