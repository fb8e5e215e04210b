#include "vmm/arch/x86_64/cpuid.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "vmm/arch/x86_64/feature_names.hpp"
#include "vmm/arch/x86_64/shown_features.hpp"

namespace microvm::vmm::x86_64 {
namespace {

using Entry = kvm_cpuid_entry2;

// Bits where we decide and not KVM. Numbers as in feature_names.cpp.
constexpr uint32_t kMonitor = 1u << 3, kVmx = 1u << 5, kPdcm = 1u << 15;
constexpr uint32_t kTscDeadline = 1u << 24, kOsXsave = 1u << 27, kHypervisor = 1u << 31;
constexpr uint32_t kHyperthreading = 1u << 28;
constexpr uint32_t kSgx = 1u << 2, kIntelPt = 1u << 25, kSgxLaunchControl = 1u << 30;
constexpr uint32_t kArchLbr = 1u << 19, kArchCapabilities = 1u << 29;
constexpr uint32_t kArat = 1u << 2;
// svm, ibs, skinit, wdt, lwp, perfctr_core, perfctr_nb, bpext, perfctr_llc
constexpr uint32_t kAmdUnsaved =
    1u << 2 | 1u << 10 | 1u << 12 | 1u << 13 | 1u << 15 | 1u << 23 | 1u << 24 | 1u << 26 | 1u << 28;
constexpr uint32_t kCmpLegacy = 1u << 1;
// Asynchronous page faults: a clone would wait for a completion its origin was promised.
// Migration control: no migration asks for it.
constexpr uint32_t kKvmUnwanted = 1u << 4 | 1u << 10 | 1u << 14 | 1u << 17;

// Shown as empty, since we neither save nor want them: PMU, SGX, Intel PT, LBR, SVM, IBS, SEV, AMD
// PMU.
constexpr std::array<uint32_t, 8> kEmptyLeaves = {0xa,        0x12,       0x14,       0x1c,
                                                  0x8000000a, 0x8000001b, 0x8000001f, 0x80000022};
constexpr uint32_t kTopologyLeaf = 0xb, kTopologyV2Leaf = 0x1f, kAmdTopologyLeaf = 0x8000001e;

constexpr uint32_t with_field(uint32_t value, unsigned shift, unsigned bits, uint32_t field) {
  const uint32_t mask = ((1u << bits) - 1) << shift;
  return (value & ~mask) | (field << shift & mask);
}

// Bits of an APIC id that number the cores of our one socket.
constexpr uint32_t core_bits(uint32_t vcpus) {
  return static_cast<uint32_t>(std::bit_width(vcpus - 1));
}

void clear(Entry& e) {
  e.eax = e.ebx = e.ecx = e.edx = 0;
}

void adjust_basic(Entry& e, bool tsc_deadline, uint32_t vcpus) {
  e.ecx &= ~(kMonitor | kVmx | kPdcm | kTscDeadline | kOsXsave);
  e.ecx |= kHypervisor | (tsc_deadline ? kTscDeadline : 0);
  e.edx = vcpus > 1 ? e.edx | kHyperthreading : e.edx & ~kHyperthreading;
  e.ebx = with_field(e.ebx, 16, 8, 1u << core_bits(vcpus));
  e.ebx = with_field(e.ebx, 24, 8, 0);
}

// Intel leaf 4 and AMD leaf 0x8000001d: who shares a cache. Ours: the last level by all.
void adjust_cache(Entry& e, uint32_t vcpus) {
  const uint32_t level = e.eax >> 5 & 0x7;
  const uint32_t ids = (1u << core_bits(vcpus)) - 1;
  e.eax = with_field(e.eax, 14, 12, level >= 3 ? ids : 0);
  if (e.function == 4 && (e.eax & 0x1f) != 0) e.eax = with_field(e.eax, 26, 6, ids);
}

void adjust_structured(Entry& e) {
  if (e.index != 0) return;
  e.ebx &= ~(kSgx | kIntelPt);
  e.ecx &= ~kSgxLaunchControl;
  e.edx &= ~kArchLbr;
}

void adjust_extended(Entry& e, uint32_t vcpus) {
  e.ecx &= ~(kAmdUnsaved | kCmpLegacy);
  if (vcpus > 1) e.ecx |= kCmpLegacy;
}

void adjust(Entry& e, bool tsc_deadline, uint32_t vcpus) {
  switch (e.function) {
    case 0x1:
      return adjust_basic(e, tsc_deadline, vcpus);
    case 0x4:
    case 0x8000001d:
      return adjust_cache(e, vcpus);
    case 0x6:  // only that the APIC timer runs in deep sleep
      e.eax &= kArat;
      e.ebx = e.ecx = e.edx = 0;
      return;
    case 0x7:
      return adjust_structured(e);
    case 0x40000001:
      e.eax &= ~kKvmUnwanted;
      return;
    case 0x80000001:
      return adjust_extended(e, vcpus);
    case 0x80000008:  // APM vol. 3 E.4.7: bits of the core id, cores - 1
      e.ecx = core_bits(vcpus) << 12 | (vcpus - 1);
      return;
    case kAmdTopologyLeaf:  // one thread per core, node 0
      return clear(e);
    default:
      if (std::ranges::count(kEmptyLeaves, e.function) != 0) clear(e);
  }
}

// SDM vol. 2 CPUID leaf 0xb: the thread level, the core level, the end.
void add_topology(std::vector<Entry>& entries, uint32_t vcpus) {
  constexpr uint32_t kThreadLevel = 1, kCoreLevel = 2;
  auto level = [&](uint32_t index, uint32_t shift, uint32_t count, uint32_t type) {
    Entry e{};
    e.function = kTopologyLeaf;
    e.index = index;
    e.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    e.eax = shift;
    e.ebx = count;
    e.ecx = type << 8 | index;
    entries.push_back(e);
  };
  level(0, 0, 1, kThreadLevel);
  level(1, core_bits(vcpus), vcpus, kCoreLevel);
  level(2, 0, 0, 0);
}

const Entry* find(std::span<const Entry> entries, uint32_t function, uint32_t index) {
  const auto it = std::ranges::find_if(
      entries, [&](const Entry& e) { return e.function == function && e.index == index; });
  return it == entries.end() ? nullptr : &*it;
}

Entry get(std::span<const Entry> entries, uint32_t function, uint32_t index) {
  const Entry* e = find(entries, function, index);
  return e != nullptr ? *e : Entry{};
}

uint32_t reg_of(const Entry& e, CpuidRegister reg) {
  switch (reg) {
    case CpuidRegister::eax:
      return e.eax;
    case CpuidRegister::ebx:
      return e.ebx;
    case CpuidRegister::ecx:
      return e.ecx;
    case CpuidRegister::edx:
      break;
  }
  return e.edx;
}

std::string vendor(std::span<const Entry> entries) {
  const Entry e = get(entries, 0, 0);
  const std::array<uint32_t, 3> words = {e.ebx, e.edx, e.ecx};
  std::string text(sizeof words, '\0');
  std::memcpy(text.data(), words.data(), sizeof words);
  // The table may come from a snapshot: nothing unprintable into a message.
  std::ranges::replace_if(text, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

void add_missing_bits(const FeatureWord& word, std::span<const Entry> snapshot,
                      std::span<const Entry> host, std::vector<std::string>& out) {
  const uint32_t missing = reg_of(get(snapshot, word.function, word.index), word.reg) &
                           ~reg_of(get(host, word.function, word.index), word.reg);
  for (unsigned bit = 0; bit < 32; ++bit) {
    if ((missing >> bit & 1) != 0) out.push_back(feature_name(word, bit));
  }
}

// SDM vol. 1 §13.2: leaf 0xd, subleaf n has a component's size and its place in the image.
bool same_component(const Entry& a, const Entry& b) {
  return a.eax == b.eax && a.ebx == b.ebx;
}

void add_missing_components(std::span<const Entry> snapshot, std::span<const Entry> host,
                            std::vector<std::string>& out) {
  auto mask = [](std::span<const Entry> entries) {
    const Entry user = get(entries, 0xd, 0);
    const Entry supervisor = get(entries, 0xd, 1);
    return (uint64_t{user.edx} << 32 | user.eax) |
           (uint64_t{supervisor.edx} << 32 | supervisor.ecx);
  };
  const uint64_t wanted = mask(snapshot);
  const uint64_t there = mask(host);
  for (unsigned i = 0; i < 64; ++i) {
    if ((wanted >> i & 1) == 0) continue;
    if ((there >> i & 1) == 0) {
      out.push_back("xsave " + xsave_component_name(i));
    } else if (i >= 2 && !same_component(get(snapshot, 0xd, i), get(host, 0xd, i))) {
      out.push_back("xsave " + xsave_component_name(i) + " of the same size");
    }
  }
}

}  // namespace

CpuidTable CpuidTable::for_host(const kvm::Kvm& kvm, uint16_t vcpus, Guest guest) {
  return make(kvm.supported_cpuid(), kvm.has_tsc_deadline(), vcpus, guest);
}

CpuidTable CpuidTable::make(std::span<const kvm_cpuid_entry2> supported, bool tsc_deadline,
                            uint16_t vcpus, Guest guest) {
  CpuidTable table;
  bool has_topology = false;
  for (Entry e : supported) {
    has_topology |= e.function == kTopologyLeaf;
    if (e.function == kTopologyLeaf || e.function == kTopologyV2Leaf) continue;
    adjust(e, tsc_deadline, vcpus);
    std::ranges::fill(e.padding, 0);
    table.entries_.push_back(e);
  }
  if (has_topology) add_topology(table.entries_, vcpus);
  if (guest == Guest::fresh) hide_from_new_guests(table.entries_);
  return table;
}

std::vector<kvm_cpuid_entry2> CpuidTable::for_vcpu(uint32_t index) const {
  std::vector<Entry> entries = entries_;
  for (Entry& e : entries) {
    if (e.function == 0x1) e.ebx = with_field(e.ebx, 24, 8, index);
    if (e.function == kTopologyLeaf) e.edx = index;
    if (e.function == kAmdTopologyLeaf) {
      e.eax = index;
      e.ebx = with_field(e.ebx, 0, 8, index);
    }
  }
  return entries;
}

Result<void> set_cpu(kvm::Vcpu& vcpu, const CpuidTable& table, uint32_t index) {
  return vcpu.set_cpuid(table.for_vcpu(index));
}

uint64_t CpuidTable::xcr0() const {
  const Entry e = get(entries_, 0xd, 0);
  return uint64_t{e.edx} << 32 | e.eax;
}

bool CpuidTable::shows_arch_capabilities() const {
  return (get(entries_, 7, 0).edx & kArchCapabilities) != 0;
}

wire::Bytes CpuidTable::encode() const {
  wire::ByteWriter out;
  out.put(static_cast<uint32_t>(entries_.size()));
  for (const Entry& e : entries_) {
    for (const uint32_t field : {e.function, e.index, e.flags, e.eax, e.ebx, e.ecx, e.edx}) {
      out.put(field);
    }
  }
  return out.take();
}

Result<CpuidTable> CpuidTable::decode(wire::ByteView body) {
  wire::ByteReader in(body);
  const auto count = in.get<uint32_t>();
  if (count > kMaxCpuidEntries) in.fail();
  CpuidTable table;
  for (uint32_t i = 0; i < count && in.ok(); ++i) {
    Entry e{};
    for (uint32_t* field : {&e.function, &e.index, &e.flags, &e.eax, &e.ebx, &e.ecx, &e.edx}) {
      *field = in.get<uint32_t>();
    }
    table.entries_.push_back(e);
  }
  if (!in.done()) return base::fail(ErrorCode::corrupt, "snapshot: the cpuid table is damaged");
  return table;
}

bool CpuidTable::operator==(const CpuidTable& other) const {
  return std::ranges::equal(entries_, other.entries_, [](const Entry& a, const Entry& b) {
    return std::memcmp(&a, &b, sizeof a) == 0;
  });
}

std::vector<std::string> missing_features(const CpuidTable& snapshot, const CpuidTable& host) {
  std::vector<std::string> missing;
  const std::string wanted_vendor = vendor(snapshot.entries());
  if (wanted_vendor != vendor(host.entries())) missing.push_back("a cpu of " + wanted_vendor);
  for (const FeatureWord& word : feature_words()) {
    add_missing_bits(word, snapshot.entries(), host.entries(), missing);
  }
  add_missing_components(snapshot.entries(), host.entries(), missing);
  return missing;
}

bool has_feature(const CpuidTable& table, std::string_view name) {
  for (const FeatureWord& word : feature_words()) {
    const uint32_t bits = reg_of(get(table.entries(), word.function, word.index), word.reg);
    for (unsigned bit = 0; bit < 32; ++bit) {
      if ((bits >> bit & 1) != 0 && feature_name(word, bit) == name) return true;
    }
  }
  return false;
}

Result<void> check_compatible(const CpuidTable& snapshot, const CpuidTable& host) {
  const std::vector<std::string> missing = missing_features(snapshot, host);
  if (missing.empty()) return {};
  std::string list;
  for (const std::string& feature : missing) list += (list.empty() ? "" : ", ") + feature;
  return base::fail(ErrorCode::incompatible_cpu, "snapshot needs cpu features this host lacks: " +
                                                     list + ": build the image on this host");
}

}  // namespace microvm::vmm::x86_64
