// The probe with checks of the test's own: whatever this KVM can do, it must tell good from bad.
#include "vmm/arch/x86_64/probe.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "raw_guest.hpp"

using namespace microvm;
using namespace microvm::vmm;
using namespace microvm::vmm::test;
using x86_64::probe;
using x86_64::ProbeCheck;

asm(R"(
  .pushsection .rodata.probe_test, "a", @progbits
  passing_check:
    movb $0x5a, %al
    outb %al, $0xf0
    hlt
  passing_check_end:

  other_byte_check:
    movb $0x5b, %al
    outb %al, $0xf0
    hlt
  other_byte_check_end:

  other_port_check:
    movb $0x5a, %al
    outb %al, $0xf1
    hlt
  other_port_check_end:

  stopping_check:
    hlt
  stopping_check_end:

  reading_check:
    inb $0xf0, %al
    hlt
  reading_check_end:

  faulting_check:
    ud2
  faulting_check_end:

  # Leads where no memory is.
  lost_check:
    movl $0x10000000, %eax
    jmp *%rax
  lost_check_end:

  # Only the first to run in this memory passes.
  untidy_check:
    movl $0x200000, %edi
    incl (%rdi)
    cmpl $1, (%rdi)
    jne 1f
    movb $0x5a, %al
    outb %al, $0xf0
  1:
    hlt
  untidy_check_end:
  .popsection
)");
extern "C" {
extern const std::byte passing_check[], passing_check_end[], other_byte_check[],
    other_byte_check_end[], other_port_check[], other_port_check_end[], stopping_check[],
    stopping_check_end[], reading_check[], reading_check_end[], faulting_check[],
    faulting_check_end[], lost_check[], lost_check_end[], untidy_check[], untidy_check_end[];
}

namespace {

const ProbeCheck kPassing{"passing", {passing_check, passing_check_end}};
const std::array kFailing = {
    ProbeCheck{"other byte", {other_byte_check, other_byte_check_end}},
    ProbeCheck{"other port", {other_port_check, other_port_check_end}},
    ProbeCheck{"stopping", {stopping_check, stopping_check_end}},
    ProbeCheck{"reading", {reading_check, reading_check_end}},
    ProbeCheck{"faulting", {faulting_check, faulting_check_end}},
    ProbeCheck{"lost", {lost_check, lost_check_end}},
};

// What it says of these; empty: it is content.
std::string complaint(const std::vector<ProbeCheck>& checks) {
  const auto probed = probe(shared_kvm(), checks);
  if (probed) return {};
  CHECK(probed.error().code == ErrorCode::kvm_unsuitable);
  CHECK(probed.error().message.starts_with("/dev/kvm cannot run a stock kernel ("));
  return probed.error().message;
}

// Passes where the low half of XCR0 is this.
std::vector<uint8_t> xcr0_check(uint32_t wanted) {
  // mov rax, cr4; or eax, OSXSAVE; mov cr4, rax; xor ecx, ecx; xgetbv; cmp eax, wanted
  std::vector<uint8_t> code = {0x0f, 0x20, 0xe0, 0x0d, 0x00, 0x00, 0x04, 0x00, 0x0f,
                               0x22, 0xe0, 0x31, 0xc9, 0x0f, 0x01, 0xd0, 0x3d};
  for (unsigned shift = 0; shift < 32; shift += 8) {
    code.push_back(static_cast<uint8_t>(wanted >> shift));
  }
  // jne to the hlt; mov al, 0x5a; out 0xf0, al; hlt
  const std::initializer_list<uint8_t> rest = {0x75, 0x04, 0xb0, 0x5a, 0xe6, 0xf0, 0xf4};
  code.insert(code.end(), rest);
  return code;
}

bool names(const std::string& complaint, const ProbeCheck& check) {
  return complaint.find("(" + std::string(check.name) + ": ") != std::string::npos ||
         complaint.find("; " + std::string(check.name) + ": ") != std::string::npos;
}

bool contains(std::span<const std::byte> code, const std::vector<unsigned>& bytes) {
  return std::ranges::search(code, bytes, [](std::byte is, unsigned wanted) {
           return std::to_integer<unsigned>(is) == wanted;
         }).size() == bytes.size();
}

}  // namespace

TEST_CASE("probe: it is content with what passes, and names whatever does not") {
  CHECK(complaint({}) == "");
  CHECK(complaint({kPassing}) == "");
  CHECK(complaint({kPassing, kPassing, kPassing}) == "");
  for (const ProbeCheck& failing : kFailing) {
    INFO(std::string(failing.name));
    for (const auto& checks :
         {std::vector{failing}, std::vector{kPassing, failing}, std::vector{failing, kPassing}}) {
      const std::string said = complaint(checks);
      CHECK(names(said, failing));
      CHECK_FALSE(names(said, kPassing));
    }
  }
}

TEST_CASE("probe: each that fails is named, and none of them spoils the next") {
  std::vector<ProbeCheck> checks;
  for (const ProbeCheck& failing : kFailing) {
    checks.push_back(failing);
    checks.push_back(kPassing);
  }
  const std::string said = complaint(checks);
  for (const ProbeCheck& failing : kFailing) CHECK(names(said, failing));
  CHECK_FALSE(names(said, kPassing));
  const ProbeCheck untidy{"untidy", {untidy_check, untidy_check_end}};
  CHECK(complaint({untidy, untidy, untidy}) == "");
}

TEST_CASE("probe: a check of a feature is made where the guest sees that, and only there") {
  ProbeCheck check = kFailing[0];
  check.feature = "no such feature";
  CHECK(complaint({check}) == "");
  check.feature = "fpu";
  CHECK(names(complaint({check}), check));
}

TEST_CASE("probe: a check starts with all that its processor may turn on, as a boot does") {
  const auto table = x86_64::CpuidTable::for_host(shared_kvm(), 1);
  if (!has_feature(table, "xsave")) {
    MESSAGE("not looked at: this kvm shows no xsave");
    return;
  }
  const auto passes_with = [](uint64_t wanted) {
    const auto code = xcr0_check(static_cast<uint32_t>(wanted));
    return complaint({{"xcr0", std::as_bytes(std::span(code)), "xsave"}}) == "";
  };
  CHECK(passes_with(table.xcr0()));
  CHECK_FALSE(passes_with(table.xcr0() ^ 1u << 1));
}

TEST_CASE("probe: of this KVM it says what its checks say one by one") {
  const auto all = x86_64::probe_checks();
  const std::string said = complaint({all.begin(), all.end()});
  size_t failed = 0;
  for (const ProbeCheck& check : all) {
    INFO(std::string(check.name));
    const bool alone = names(complaint({check}), check);
    CHECK(names(said, check) == alone);
    failed += alone ? 1 : 0;
  }
  CHECK(said.empty() == (failed == 0));
  const auto by_itself = probe(shared_kvm());
  CHECK((by_itself ? "" : by_itself.error().message) == said);
  MESSAGE(failed << " of " << all.size() << " checks fail here");
}

TEST_CASE("probe: each check executes what it is named for") {
  struct Instruction {
    const char* check;
    std::vector<unsigned> bytes;
  };
  const std::vector<Instruction> instructions = {
      {"64-bit ring 0", {0x58}},                      // pop rax
      {"lock cmpxchg16b", {0xf0, 0x48, 0x0f, 0xc7}},  //
      {"int3", {0xcc}},                               //
      {"wrmsr, swapgs", {0x0f, 0x30}},                // wrmsr
      {"wrmsr, swapgs", {0x0f, 0x01, 0xf8}},          // swapgs
      {"wrmsr, swapgs", {0x0f, 0x32}},                // rdmsr
      {"cr3, cr4, invlpg", {0x0f, 0x22, 0xe0}},       // mov cr4, rax
      {"cr3, cr4, invlpg", {0x0f, 0x22, 0xd8}},       // mov cr3, rax
      {"cr3, cr4, invlpg", {0x0f, 0x01, 0x3f}},       // invlpg
      {"cr3, cr4, invlpg", {0x0f, 0x09}},             // wbinvd
      {"rep movsb, lock xadd", {0xf3, 0xa4}},         // rep movsb
      {"rep movsb, lock xadd", {0xf0, 0x48, 0x0f, 0xc1}},
      {"rep movsb, lock xadd", {0xf0, 0x48, 0x0f, 0xba}},  // lock bts
      {"popcnt", {0xf3, 0x48, 0x0f, 0xb8}},
      {"fxsave", {0x48, 0x0f, 0xae, 0x07}},
      {"fxsave", {0x48, 0x0f, 0xae, 0x0f}},  // fxrstor
      {"xsave", {0x48, 0x0f, 0xae, 0x27}},
      {"xsave", {0x48, 0x0f, 0xae, 0x2f}},  // xrstor
      {"xsavec", {0x48, 0x0f, 0xc7, 0x27}},
      {"xsaves", {0x48, 0x0f, 0xc7, 0x2f}},
      {"xsaves", {0x48, 0x0f, 0xc7, 0x1f}},  // xrstors
  };
  const auto all = x86_64::probe_checks();
  for (const Instruction& each : instructions) {
    INFO(std::string(each.check));
    const auto check = std::ranges::find_if(
        all, [&](const ProbeCheck& c) { return std::string(c.name) == each.check; });
    REQUIRE(check != all.end());
    CHECK(contains(check->code, each.bytes));
  }
  for (const ProbeCheck& check : all) {
    INFO(std::string(check.name));
    CHECK(std::ranges::any_of(
        instructions, [&](const Instruction& i) { return i.check == std::string(check.name); }));
  }
}
