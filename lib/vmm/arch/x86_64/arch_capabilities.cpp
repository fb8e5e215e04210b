#include "vmm/arch/x86_64/arch_capabilities.hpp"

#include <array>
#include <string>

namespace microvm::vmm::x86_64 {
namespace {

using state::SectionId;

constexpr uint32_t kCapabilitiesMsr = 0x10a;
constexpr uint16_t kCapabilitiesVersion = 1;

struct Promise {
  unsigned bit;
  const char* name;
};
// Not here: rsba and rrsba, which say what is worse and not what is better.
constexpr auto kPromises = std::to_array<Promise>({
    {0, "rdcl_no"},        {1, "ibrs_all"},       {3, "skip_l1dfl"},  {4, "ssb_no"},
    {5, "mds_no"},         {6, "pschange_mc_no"}, {7, "tsx_ctrl"},    {8, "taa_no"},
    {13, "sbdr_ssdp_no"},  {14, "fbsdp_no"},      {15, "psdp_no"},    {17, "fb_clear"},
    {18, "fb_clear_ctrl"}, {20, "bhi_no"},        {24, "pbrsb_no"},   {25, "gds_ctrl"},
    {26, "gds_no"},        {27, "rfds_no"},       {28, "rfds_clear"}, {62, "its_no"},
});

}  // namespace

Result<std::optional<uint64_t>> save_capabilities(const kvm::Vcpu& vcpu, const CpuidTable& table) {
  std::optional<uint64_t> value;
  if (!table.shows_arch_capabilities()) return value;
  kvm_msr_entry entry{.index = kCapabilitiesMsr, .reserved = 0, .data = 0};
  const auto count = vcpu.read_msrs({&entry, 1});
  if (!count) return base::fail(count.error());
  if (*count == 1) value = uint64_t{entry.data};
  return value;
}

void add_capabilities(state::Writer& out, uint64_t value) {
  wire::ByteWriter body;
  body.put(value);
  out.add(SectionId::cpu_capabilities, 0, kCapabilitiesVersion, body.take());
}

Result<std::optional<uint64_t>> read_capabilities(const state::Reader& in) {
  std::optional<uint64_t> value;
  if (!in.has(SectionId::cpu_capabilities, 0)) return value;
  const auto section = in.find(SectionId::cpu_capabilities, 0, kCapabilitiesVersion);
  if (!section) return base::fail(section.error());
  wire::ByteReader body(section->body);
  value = body.get<uint64_t>();
  if (body.done()) return value;
  return base::fail(ErrorCode::corrupt, "snapshot: the cpu's capabilities are damaged");
}

Result<void> check_capabilities(uint64_t snapshot, uint64_t host) {
  std::string missing;
  for (const Promise& promise : kPromises) {
    if (((snapshot & ~host) >> promise.bit & 1) == 0) continue;
    missing += (missing.empty() ? "" : ", ") + std::string(promise.name);
  }
  if (missing.empty()) return {};
  return base::fail(ErrorCode::incompatible_cpu,
                    "snapshot relies on a cpu that promises " + missing +
                        ", this host's does not: build the image on this host");
}

Result<void> set_capabilities(kvm::Vcpu& vcpu, uint64_t value) {
  const kvm_msr_entry entry{.index = kCapabilitiesMsr, .reserved = 0, .data = value};
  const auto count = vcpu.write_msrs({&entry, 1});
  if (!count) return base::fail(count.error());
  if (*count == 1) return {};
  return base::fail(ErrorCode::incompatible_cpu,
                    "snapshot needs msr 0x10a, which this host's kvm refuses");
}

}  // namespace microvm::vmm::x86_64
