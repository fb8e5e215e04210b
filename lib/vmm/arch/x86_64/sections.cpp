#include "vmm/arch/x86_64/sections.hpp"

namespace microvm::vmm::x86_64 {

using state::SectionId;

void add_cpu_table(state::Writer& out, const CpuidTable& table) {
  out.add(SectionId::cpuid, 0, kCpuidVersion, table.encode());
}

void add_vm(state::Writer& out, const VmState& vm) {
  out.add(SectionId::interrupt_chips, 0, kChipsVersion, encode_chips(vm));
  out.add(SectionId::clock, 0, kClockVersion, encode_clock(vm));
}

void add_vcpu(state::Writer& out, uint32_t index, const VcpuState& vcpu) {
  out.add(SectionId::vcpu, index, version_of(vcpu), encode(vcpu));
}

Result<CpuidTable> read_cpu_table(const state::Reader& in) {
  const auto section = in.find(SectionId::cpuid, 0, kCpuidVersion);
  if (!section) return base::fail(section.error());
  return CpuidTable::decode(section->body);
}

Result<VmState> read_vm(const state::Reader& in) {
  const auto chips = in.find(SectionId::interrupt_chips, 0, kChipsVersion);
  if (!chips) return base::fail(chips.error());
  const auto clock = in.find(SectionId::clock, 0, kClockVersion);
  if (!clock) return base::fail(clock.error());
  return decode_vm(chips->body, clock->body);
}

Result<VcpuState> read_vcpu(const state::Reader& in, uint32_t index) {
  const auto section = in.find(SectionId::vcpu, index, kVcpuStateVersion);
  if (!section) return base::fail(section.error());
  return decode_vcpu(section->body);
}

}  // namespace microvm::vmm::x86_64
