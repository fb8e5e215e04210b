#include "vmm/arch/x86_64/vcpu_state.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <string>

#include "vmm/arch/x86_64/clocks.hpp"
#include "vmm/arch/x86_64/saved_msrs.hpp"

namespace microvm::vmm::x86_64 {
namespace {

constexpr uint32_t kMaxXsaveBytes = 64 * 1024;  // the largest known, AMX, is 11,008
constexpr uint32_t kTsc = 0x10;

std::string hex(uint32_t value) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%x", value);
  return text;
}

// KVM stops at the first MSR it refuses; without that one, it goes on behind it.
Result<std::vector<kvm_msr_entry>> read_all(kvm::Vcpu& vcpu, std::span<const uint32_t> indices) {
  std::vector<kvm_msr_entry> wanted;
  for (const uint32_t index : indices) wanted.push_back({.index = index, .reserved = 0, .data = 0});
  std::vector<kvm_msr_entry> values;
  std::span<kvm_msr_entry> rest(wanted);
  while (!rest.empty()) {
    const auto count = vcpu.read_msrs(rest);
    if (!count) return base::fail(count.error());
    const auto read = rest.first(std::min(*count, rest.size()));
    std::ranges::copy_if(read, std::back_inserter(values), [](const kvm_msr_entry& msr) {
      return !is_reset_value(msr.index, msr.data);
    });
    rest = rest.subspan(std::min(*count + 1, rest.size()));
  }
  return values;
}

// All but the TSC, which restore_tsc() has set.
Result<void> write_all(kvm::Vcpu& vcpu, std::vector<kvm_msr_entry> msrs) {
  std::erase_if(msrs, [](const kvm_msr_entry& msr) { return msr.index == kTsc; });
  std::span<const kvm_msr_entry> rest = msrs;
  while (!rest.empty()) {
    const auto count = vcpu.write_msrs(rest);
    if (!count) return base::fail(count.error());
    if (*count >= rest.size()) return {};
    // Zero in an MSR this host does not have says nothing; anything else the guest relies on.
    const kvm_msr_entry& refused = rest[*count];
    if (refused.data != 0) {
      return base::fail(ErrorCode::incompatible_cpu, "snapshot needs msr " + hex(refused.index) +
                                                         ", which this host's kvm refuses");
    }
    rest = rest.subspan(*count + 1);
  }
  return {};
}

// SDM vol. 3 §17.2, values after reset.
bool at_reset(const kvm_debugregs& registers) {
  return std::ranges::all_of(registers.db, [](uint64_t value) { return value == 0; }) &&
         registers.dr6 == 0xffff0ff0 && registers.dr7 == 0x400;
}

bool at_reset(const kvm_xcrs& xcrs) {
  return xcrs.nr_xcrs == 0 || (xcrs.nr_xcrs == 1 && xcrs.xcrs[0].value == 1);
}

// KVM makes the boot processor runnable and lets the others wait for their startup interrupt.
bool at_reset(kvm_mp_state mp_state, uint64_t apic_base) {
  constexpr uint64_t kBootProcessor = 1u << 8;
  const bool boots = (apic_base & kBootProcessor) != 0;
  return mp_state.mp_state ==
         static_cast<uint32_t>(boots ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_UNINITIALIZED);
}

// The guest's TSC must go on at the speed it was calibrated with.
Result<void> match_tsc(kvm::Vcpu& vcpu, uint32_t khz) {
  if (khz == 0 || khz == vcpu.host_tsc_khz()) return {};
  if (vcpu.set_tsc_khz(khz)) return {};
  return base::fail(ErrorCode::incompatible_cpu,
                    "snapshot needs a tsc of " + std::to_string(khz) + " kHz, this host has " +
                        std::to_string(vcpu.host_tsc_khz()) + " and cannot scale it");
}

// A vCPU that still waits for its startup interrupt gets its registers from that: what travelled
// with its first run would overwrite them.
Result<void> set_registers(kvm::Vcpu& vcpu, const VcpuState& state) {
  const uint32_t mp_state = state.mp_state.mp_state;
  if (mp_state == KVM_MP_STATE_RUNNABLE || mp_state == KVM_MP_STATE_HALTED) {
    return vcpu.set_regs_and_events_on_run(state.regs, state.events);
  }
  if (auto ok = vcpu.set_regs(state.regs); !ok) return ok;
  return vcpu.set_events(state.events);
}

// Puts what a getter gave into its field, or keeps the first error.
template <class T>
void take(Result<T> result, T& field, Result<void>& status) {
  if (!status) return;
  if (result) {
    field = std::move(*result);
  } else {
    status = base::fail(result.error());
  }
}

template <class T>
void put_struct(wire::ByteWriter& out, const T& value) {
  out.put_bytes(std::as_bytes(std::span(&value, 1)));
}

template <class T>
void get_struct(wire::ByteReader& in, T& value) {
  const wire::ByteView bytes = in.get_bytes(sizeof value);
  if (!bytes.empty()) std::memcpy(&value, bytes.data(), bytes.size());
}

// All fixed-size parts, in the order of the format.
template <class State, class Field>
void for_each_struct(State& state, Field&& field) {
  field(state.regs);
  field(state.sregs);
  field(state.events);
  field(state.debugregs);
  field(state.xcrs);
  field(state.lapic);
  field(state.mp_state);
}

void decode_msrs(wire::ByteReader& in, std::vector<kvm_msr_entry>& msrs) {
  const auto count = in.get<uint32_t>();
  if (count > kMaxSavedMsrs) return in.fail();
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    const auto index = in.get<uint32_t>();
    const auto value = in.get<uint64_t>();
    if (!is_saved_msr(index)) return in.fail();
    msrs.push_back({.index = index, .reserved = 0, .data = value});
  }
}

void decode_xsave(wire::ByteReader& in, std::vector<std::byte>& xsave) {
  const auto size = in.get<uint32_t>();
  if (size < sizeof(kvm_xsave::region) || size > kMaxXsaveBytes) return in.fail();
  const wire::ByteView image = in.get_bytes(size);
  xsave.assign(image.begin(), image.end());
}

}  // namespace

Result<VcpuState> save_vcpu(kvm::Vcpu& vcpu, std::span<const uint32_t> msrs) {
  VcpuState state;
  Result<void> status;
  // The local APIC's pending events are folded into mp_state when that is read: it comes first.
  take(vcpu.mp_state(), state.mp_state, status);
  take(vcpu.regs(), state.regs, status);
  take(vcpu.sregs(), state.sregs, status);
  take(vcpu.xsave(), state.xsave, status);
  take(vcpu.xcrs(), state.xcrs, status);
  take(vcpu.debugregs(), state.debugregs, status);
  // Before the APIC: a timer that fires in between is an interrupt there and no deadline any more.
  take(read_all(vcpu, msrs), state.msrs, status);
  take(vcpu.lapic(), state.lapic, status);
  take(vcpu.events(), state.events, status);
  if (!status) return base::fail(status.error());
  state.tsc_khz = vcpu.tsc_khz().value_or(0);
  return state;
}

Result<void> restore_tsc(std::span<kvm::Vcpu* const> vcpus, const VcpuState& first) {
  for (kvm::Vcpu* vcpu : vcpus) {
    if (auto ok = match_tsc(*vcpu, first.tsc_khz); !ok) return ok;
  }
  const auto tsc = std::ranges::find(first.msrs, kTsc, &kvm_msr_entry::index);
  if (tsc == first.msrs.end()) return {};
  return set_tsc(vcpus, tsc->data);
}

// Dependencies: the APIC's mode is in sregs; TSC_DEADLINE (an MSR) needs the APIC's timer mode; the
// XSAVE image may use components only XCR0 turns on.
Result<void> restore_vcpu(kvm::Vcpu& vcpu, const VcpuState& state) {
  if (auto ok = vcpu.set_sregs(state.sregs); !ok) return ok;
  if (auto ok = vcpu.set_lapic(state.lapic); !ok) return ok;
  if (auto ok = write_all(vcpu, state.msrs); !ok) return ok;
  if (!at_reset(state.xcrs)) {
    if (auto ok = vcpu.set_xcrs(state.xcrs); !ok) return ok;
  }
  if (auto ok = vcpu.set_xsave(state.xsave); !ok) return ok;
  if (!at_reset(state.debugregs)) {
    if (auto ok = vcpu.set_debugregs(state.debugregs); !ok) return ok;
  }
  if (!at_reset(state.mp_state, state.sregs.apic_base)) {
    if (auto ok = vcpu.set_mp_state(state.mp_state); !ok) return ok;
  }
  return set_registers(vcpu, state);
}

uint16_t version_of(const VcpuState& state) {
  uint16_t version = 1;
  for (const kvm_msr_entry& msr : state.msrs) version = std::max(version, version_with(msr.index));
  return version;
}

wire::Bytes encode(const VcpuState& state) {
  wire::ByteWriter out;
  for_each_struct(state, [&](const auto& part) { put_struct(out, part); });
  out.put(state.tsc_khz);
  out.put(static_cast<uint32_t>(state.msrs.size()));
  for (const kvm_msr_entry& msr : state.msrs) {
    out.put(msr.index);
    out.put(uint64_t{msr.data});
  }
  out.put(static_cast<uint32_t>(state.xsave.size()));
  out.put_bytes(state.xsave);
  return out.take();
}

Result<VcpuState> decode_vcpu(wire::ByteView body) {
  wire::ByteReader in(body);
  VcpuState state;
  for_each_struct(state, [&](auto& part) { get_struct(in, part); });
  state.tsc_khz = in.get<uint32_t>();
  decode_msrs(in, state.msrs);
  decode_xsave(in, state.xsave);
  if (state.xcrs.nr_xcrs > KVM_MAX_XCRS) in.fail();
  if (!in.done()) return base::fail(ErrorCode::corrupt, "snapshot: a vcpu's state is damaged");
  return state;
}

}  // namespace microvm::vmm::x86_64
