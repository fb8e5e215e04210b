#include "vmm/arch/x86_64/vcpu_state.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>

#include "vmm/arch/x86_64/saved_msrs.hpp"
#include "vmm/arch/x86_64/vm_state.hpp"

using namespace microvm;
using namespace microvm::vmm::x86_64;

namespace {

constexpr uint32_t kTsc = 0x10, kLstar = 0xc0000082, kTscDeadline = 0x6e0;
constexpr uint32_t kArchCapabilities = 0x10a, kFeatureControl = 0x3a;

VcpuState sample() {
  VcpuState state;
  state.regs.rip = 0x1234;
  state.sregs.cr3 = 0x9000;
  state.mp_state.mp_state = KVM_MP_STATE_HALTED;
  state.tsc_khz = 2'400'000;
  state.msrs = {{.index = kTsc, .reserved = 0, .data = 99},
                {.index = kLstar, .reserved = 0, .data = 0xffffffff81000000}};
  state.xsave.resize(4096, std::byte{7});
  return state;
}

}  // namespace

TEST_CASE("vcpu state: goes through bytes") {
  const wire::Bytes body = encode(sample());
  const auto state = decode_vcpu(body);
  REQUIRE(state);
  CHECK(state->regs.rip == 0x1234);
  CHECK(state->sregs.cr3 == 0x9000);
  CHECK(state->tsc_khz == 2'400'000);
  REQUIRE(state->msrs.size() == 2);
  CHECK(state->msrs[1].data == 0xffffffff81000000);
  CHECK(encode(*state) == body);
}

TEST_CASE("vcpu state: cut anywhere or with something behind it, it is refused") {
  wire::Bytes body = encode(sample());
  for (size_t length = 0; length < body.size(); length += 7) {
    const auto state = decode_vcpu(wire::ByteView(body).first(length));
    REQUIRE_FALSE(state);
    CHECK(state.error().code == ErrorCode::corrupt);
  }
  body.push_back(std::byte{0});
  CHECK_FALSE(decode_vcpu(body));
}

TEST_CASE("vcpu state: a snapshot cannot write MSRs of its choice") {
  for (const uint32_t index : {kArchCapabilities, kFeatureControl, 0xc0010114u, 0u}) {
    VcpuState state = sample();
    state.msrs[0].index = index;
    CHECK_FALSE(decode_vcpu(encode(state)));
  }
}

TEST_CASE("vcpu state: counts and sizes are bounded") {
  VcpuState many = sample();
  many.msrs.resize(kMaxSavedMsrs + 1, many.msrs.front());
  CHECK_FALSE(decode_vcpu(encode(many)));
  VcpuState large = sample();
  large.xsave.resize(1 << 20);
  CHECK_FALSE(decode_vcpu(encode(large)));
  VcpuState small = sample();
  small.xsave.resize(512);
  CHECK_FALSE(decode_vcpu(encode(small)));
  VcpuState xcrs = sample();
  xcrs.xcrs.nr_xcrs = KVM_MAX_XCRS + 1;
  CHECK_FALSE(decode_vcpu(encode(xcrs)));
}

TEST_CASE("saved msrs: the time stamp counter is written before the deadline counted in it") {
  const std::vector<uint32_t> host = {kTscDeadline, kArchCapabilities, kLstar, kTsc};
  const auto saved = saved_msrs(host);
  CHECK(saved.front() == kTsc);
  CHECK(saved.back() == kTscDeadline);
  CHECK(std::ranges::count(saved, kLstar) == 1);
  CHECK(std::ranges::count(saved, kArchCapabilities) == 0);
  CHECK(saved.size() <= kMaxSavedMsrs);
}

TEST_CASE(
    "saved msrs: those that older libraries refuse make the section one they know not to read") {
  constexpr uint32_t kMiscFeatures = 0x140, kBndcfgs = 0xd90;
  CHECK(version_of(sample()) == 1);
  for (const uint32_t index : {kMiscFeatures, kBndcfgs}) {
    CHECK(is_saved_msr(index));
    CHECK(is_reset_value(index, 0));
    VcpuState state = sample();
    state.msrs.push_back({.index = index, .reserved = 0, .data = 1});
    CHECK(version_of(state) == 2);
    CHECK(decode_vcpu(encode(state)));
  }
  CHECK(version_of(sample()) <= kVcpuStateVersion);
}

TEST_CASE("saved msrs: zeros a fresh vCPU has anyway are not saved") {
  CHECK(is_reset_value(kLstar, 0));
  CHECK_FALSE(is_reset_value(kLstar, 1));
  CHECK_FALSE(is_reset_value(kTsc, 0));
}

TEST_CASE("vm state: goes through bytes") {
  VmState state;
  for (uint32_t i = 0; i < state.chips.size(); ++i) state.chips[i].chip_id = i;
  state.chips[2].chip.ioapic.ioregsel = 5;
  state.clock_ns = 123456;
  const auto decoded = decode_vm(encode_chips(state), encode_clock(state));
  REQUIRE(decoded);
  CHECK(decoded->chips[2].chip.ioapic.ioregsel == 5);
  CHECK(decoded->clock_ns == 123456);
}

TEST_CASE("vm state: damaged bodies are refused") {
  VmState state;
  for (uint32_t i = 0; i < state.chips.size(); ++i) state.chips[i].chip_id = i;
  const wire::Bytes chips = encode_chips(state);
  const wire::Bytes clock = encode_clock(state);
  CHECK_FALSE(decode_vm(wire::ByteView(chips).first(chips.size() - 1), clock));
  CHECK_FALSE(decode_vm(chips, wire::ByteView(clock).first(4)));
  state.clock_ns = UINT64_MAX;
  CHECK_FALSE(decode_vm(chips, encode_clock(state)));
  state.chips[1].chip_id = 7;
  CHECK_FALSE(decode_vm(encode_chips(state), clock));
}
