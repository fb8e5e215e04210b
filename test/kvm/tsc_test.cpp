// The guest's time stamp counter: where it is set it stands, on all vCPUs alike.
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "own_tsc.hpp"
#include "vmm/arch/x86_64/clocks.hpp"
#include "vmm/arch/x86_64/vcpu_state.hpp"

using namespace microvm;
using namespace microvm::vmm;
using namespace microvm::vmm::test;
using x86_64::set_tsc;
using x86_64::TscWay;

asm(R"(
  .pushsection .rodata.tsc_test, "a", @progbits
  tsc_guest:
    movl $0x200000, %edi
  1:
    rdtsc
    shlq $32, %rdx
    orq %rdx, %rax
    movq %rax, (%rdi)
    outb %al, $0x10
    jmp 1b
  tsc_guest_end:
  .popsection
)");
extern "C" {
extern const std::byte tsc_guest[], tsc_guest_end[];
}

namespace {

bool tsc_can_be_set() {
  if (a_guest_has_a_tsc_of_its_own()) return true;
  MESSAGE("not looked at: guests read the host's tsc here");
  return false;
}

constexpr std::array kWays = {TscWay::offsets_or_values, TscWay::values};

struct Processors {
  kvm::Vm vm = must(shared_kvm().create_vm());
  std::vector<kvm::Vcpu> all;
  std::vector<kvm::Vcpu*> pointers;

  explicit Processors(uint32_t count) {
    must(vm.create_interrupt_chips());
    for (uint32_t i = 0; i < count; ++i) all.push_back(must(vm.create_vcpu(i)));
    for (kvm::Vcpu& vcpu : all) pointers.push_back(&vcpu);
  }
  [[nodiscard]] uint64_t second() const { return uint64_t{all.front().host_tsc_khz()} * 1000; }

  void check_stands_at(uint64_t value, TscWay way) {
    const uint64_t before = __rdtsc();
    must(set_tsc(pointers, value, way));
    for (const kvm::Vcpu& vcpu : all) {
      const uint64_t tsc = must(vcpu.tsc());
      CHECK(tsc >= value);
      CHECK(tsc - value <= __rdtsc() - before);
    }
    check_equal();
  }
  void check_equal() const {
    const auto first = all.front().tsc_offset();
    if (!first) {
      MESSAGE("this kvm has no offsets: they are not compared");
      return;
    }
    for (const kvm::Vcpu& vcpu : all) CHECK(must(vcpu.tsc_offset()) == *first);
  }
};

// What the guest reads next; on a paravirtual KVM that is the host's.
uint64_t next_tsc(RawGuest& guest) {
  REQUIRE(guest.vcpu.run().kind == kvm::Exit::Kind::pio_write);
  uint64_t value = 0;
  REQUIRE(guest.memory.read(0x200000, value));
  return value;
}

x86_64::VcpuState saved(RawGuest& guest) {
  guest.finish_access();
  return must(x86_64::save_vcpu(guest.vcpu, x86_64::saved_msrs(shared_kvm().msr_indices())));
}

uint64_t tsc_in(const x86_64::VcpuState& state) {
  for (const kvm_msr_entry& msr : state.msrs) {
    if (msr.index == 0x10) return msr.data;
  }
  FAIL("no tsc was saved");
  return 0;
}

}  // namespace

TEST_CASE("tsc: it stands where it is set, however little that is from where it stood") {
  if (!tsc_can_be_set()) return;
  for (const TscWay way : kWays) {
    Processors processors(2);
    const uint64_t second = processors.second();
    REQUIRE(second > 0);
    // A guest of the age of its vCPUs, and some more or less of it.
    for (const uint64_t value : {second / 2, second / 4, second, 1000 * second, 1000 * second + 5,
                                 1000 * second - second / 3, uint64_t{1}}) {
      INFO(value << std::string(way == TscWay::values ? ", by value" : ""));
      processors.check_stands_at(value, way);
    }
  }
}

TEST_CASE("tsc: many vcpus have the same distance to the host's") {
  if (!tsc_can_be_set()) return;
  for (const TscWay way : kWays) {
    Processors processors(8);
    processors.check_stands_at(processors.second() / 3, way);
    processors.check_stands_at(processors.second() / 3, way);
  }
}

TEST_CASE("tsc: held clocks keep vcpus together") {
  for (const uint32_t count : {1u, 4u}) {
    Processors processors(count);
    must(set_tsc(processors.pointers, 5 * processors.second()));
    for (int round = 0; round < 3; ++round) {
      const auto clocks = must(x86_64::read_clocks(processors.vm, processors.all.front()));
      must(x86_64::set_clocks(processors.vm, processors.pointers, clocks));
      processors.check_equal();
      CHECK(must(processors.all.front().tsc()) >= clocks.tsc);
    }
  }
}

TEST_CASE("tsc: over 200 lives it neither steps back nor jumps") {
  const bool own = tsc_can_be_set();
  auto guest =
      std::make_unique<RawGuest>(std::span(tsc_guest, tsc_guest_end), RawGuest::Chips::yes);
  uint64_t last = next_tsc(*guest);
  for (int life = 0; life < 200; ++life) {
    const auto state = saved(*guest);
    CHECK(tsc_in(state) >= last);
    guest = std::make_unique<RawGuest>(std::span(tsc_guest, tsc_guest_end), RawGuest::Chips::yes);
    const uint64_t begin = __rdtsc();
    kvm::Vcpu* const vcpus[] = {&guest->vcpu};
    must(x86_64::restore_tsc(vcpus, state));
    must(x86_64::restore_vcpu(guest->vcpu, state));
    const uint64_t told = must(guest->vcpu.tsc());
    CHECK(told >= tsc_in(state));
    if (own) CHECK(told - tsc_in(state) <= __rdtsc() - begin);
    const uint64_t now = next_tsc(*guest);
    CHECK(now > last);
    last = now;
  }
}
