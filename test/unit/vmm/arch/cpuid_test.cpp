#include "vmm/arch/x86_64/cpuid.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "vmm/arch/x86_64/feature_names.hpp"

using namespace microvm;
using namespace microvm::vmm::x86_64;

namespace {

constexpr uint32_t kAvx2 = 1u << 5;

kvm_cpuid_entry2 leaf(uint32_t function, uint32_t index, uint32_t eax, uint32_t ebx, uint32_t ecx,
                      uint32_t edx) {
  kvm_cpuid_entry2 entry{};
  entry.function = function;
  entry.index = index;
  entry.eax = eax;
  entry.ebx = ebx;
  entry.ecx = ecx;
  entry.edx = edx;
  return entry;
}

// An imaginary AMD processor with AVX2 and a component 9 in its XSAVE image.
std::vector<kvm_cpuid_entry2> processor() {
  return {leaf(0, 0, 0xd, 0x68747541, 0x444d4163, 0x69746e65),
          leaf(1, 0, 0, 0xff000000, 1u << 13 | 1u << 3 | 1u << 5, 1u << 0),
          leaf(7, 0, 0, kAvx2, 1u << 3, 0),
          leaf(0xa, 0, 1, 2, 3, 4),
          leaf(0xb, 0, 1, 1, 0x100, 0),
          leaf(0xd, 0, 0x207, 0x240, 0xa88, 0),
          leaf(0xd, 1, 1, 0, 0, 0),
          leaf(0xd, 2, 256, 576, 0, 0),
          leaf(0xd, 9, 8, 2688, 0, 0),
          leaf(0x40000001, 0, 1u << 3 | 1u << 4, 0, 0, 0),
          leaf(0x80000001, 0, 0, 0, 1u << 2 | 1u << 22, 0),
          leaf(0x80000008, 0, 0, 0, 0, 0),
          leaf(0x8000001e, 0, 0, 0x100, 0, 0)};
}

kvm_cpuid_entry2 get(std::span<const kvm_cpuid_entry2> entries, uint32_t function,
                     uint32_t index = 0) {
  const auto it = std::ranges::find_if(
      entries, [&](const auto& e) { return e.function == function && e.index == index; });
  REQUIRE(it != entries.end());
  return *it;
}

CpuidTable table_of(const std::vector<kvm_cpuid_entry2>& entries, uint16_t vcpus = 1) {
  return CpuidTable::make(entries, true, vcpus);
}

// As it comes from a snapshot: nothing of it is adjusted.
CpuidTable decoded(const std::vector<kvm_cpuid_entry2>& entries) {
  wire::ByteWriter out;
  out.put(static_cast<uint32_t>(entries.size()));
  for (const auto& e : entries) {
    for (const uint32_t field : {e.function, e.index, e.flags, e.eax, e.ebx, e.ecx, e.edx}) {
      out.put(field);
    }
  }
  auto table = CpuidTable::decode(out.bytes());
  REQUIRE(table);
  return std::move(*table);
}

std::vector<std::string> missing_with(uint32_t function, uint32_t index,
                                      void (*change)(kvm_cpuid_entry2&)) {
  auto host = processor();
  for (auto& entry : host) {
    if (entry.function == function && entry.index == index) change(entry);
  }
  return missing_features(table_of(processor()), table_of(host));
}

}  // namespace

TEST_CASE("cpuid: shows a guest of KVM and hides what we do not save") {
  const CpuidTable table = table_of(processor());
  const auto basic = get(table.entries(), 1);
  CHECK((basic.ecx & 1u << 31) != 0);
  CHECK((basic.ecx & 1u << 24) != 0);
  CHECK((basic.ecx & (1u << 3 | 1u << 5)) == 0);
  CHECK(get(table.entries(), 0xa).eax == 0);
  CHECK(get(table.entries(), 0x40000001).eax == 1u << 3);
  CHECK((get(table.entries(), 0x80000001).ecx & 1u << 2) == 0);
  CHECK(table.xcr0() == 0x207);
  CHECK(has_feature(table, "avx2"));
  CHECK_FALSE(has_feature(table, "svm"));
}

TEST_CASE("cpuid: every vCPU has its APIC id in one socket of single-threaded cores") {
  const CpuidTable table = table_of(processor(), 6);
  for (const uint32_t index : {0u, 5u}) {
    const auto entries = table.for_vcpu(index);
    CHECK((get(entries, 1).ebx >> 24) == index);
    CHECK((get(entries, 1).edx & 1u << 28) != 0);
    CHECK(get(entries, 0xb, 0).edx == index);
    CHECK(get(entries, 0xb, 1).eax == 3);
    CHECK(get(entries, 0xb, 1).ebx == 6);
    CHECK(get(entries, 0x8000001e).eax == index);
    CHECK(get(entries, 0x8000001e).ebx == index);
  }
  CHECK(get(table.entries(), 0x80000008).ecx == (3u << 12 | 5u));
}

TEST_CASE("cpuid: a table goes through bytes") {
  const CpuidTable table = table_of(processor(), 2);
  const auto decoded = CpuidTable::decode(table.encode());
  REQUIRE(decoded);
  CHECK(*decoded == table);
  CHECK_FALSE(*decoded == table_of(processor(), 3));
}

TEST_CASE("cpuid: a damaged table is refused") {
  const wire::Bytes whole = table_of(processor()).encode();
  for (size_t length = 0; length < whole.size(); ++length) {
    CHECK_FALSE(CpuidTable::decode(wire::ByteView(whole).first(length)));
  }
  wire::ByteWriter endless;
  endless.put(UINT32_MAX);
  const auto decoded = CpuidTable::decode(endless.bytes());
  REQUIRE_FALSE(decoded);
  CHECK(decoded.error().code == ErrorCode::corrupt);
}

TEST_CASE("cpuid: the same processor misses nothing") {
  CHECK(missing_features(table_of(processor()), table_of(processor(), 8)).empty());
  CHECK(check_compatible(table_of(processor()), table_of(processor())));
}

TEST_CASE("cpuid: what is missing is listed by name") {
  using Names = std::vector<std::string>;
  CHECK(missing_with(7, 0, [](auto& e) { e.ebx = 0; }) == Names{"avx2"});
  CHECK(missing_with(0xd, 0, [](auto& e) { e.eax = 0x7; }) == Names{"xsave pkru"});
  CHECK(missing_with(0xd, 9, [](auto& e) { e.ebx = 832; }) == Names{"xsave pkru of the same size"});
  CHECK(missing_with(0, 0, [](auto& e) { e.ebx = 0x756e6547; }) == Names{"a cpu of AuthenticAMD"});

  auto without_avx2 = processor();
  without_avx2[2].ebx = 0;
  const auto compatible = check_compatible(table_of(processor()), table_of(without_avx2));
  REQUIRE_FALSE(compatible);
  CHECK(compatible.error().code == ErrorCode::incompatible_cpu);
  CHECK(compatible.error().message.find("lacks: avx2") != std::string::npos);
  CHECK(check_compatible(table_of(without_avx2), table_of(processor())));
}

TEST_CASE("cpuid: each bit of each word of features is missed, alone and by its name") {
  for (const FeatureWord& word : feature_words()) {
    for (unsigned bit = 0; bit < 32; ++bit) {
      kvm_cpuid_entry2 entry = leaf(word.function, word.index, 0, 0, 0, 0);
      uint32_t* const fields[] = {&entry.eax, &entry.ebx, &entry.ecx, &entry.edx};
      const std::vector<kvm_cpuid_entry2> without{entry};
      *fields[static_cast<size_t>(word.reg)] = 1u << bit;
      const std::vector<kvm_cpuid_entry2> with{entry};
      const auto missing = missing_features(decoded(with), decoded(without));
      INFO(feature_name(word, bit));
      REQUIRE(missing.size() == 1);
      CHECK(missing[0] == feature_name(word, bit));
      CHECK(missing_features(decoded(without), decoded(with)).empty());
    }
  }
}

TEST_CASE("cpuid: any bit of any leaf makes another table") {
  const auto entries = processor();
  const CpuidTable table = decoded(entries);
  CHECK(table == decoded(entries));
  for (size_t number = 0; number < entries.size(); ++number) {
    for (auto field : {&kvm_cpuid_entry2::function, &kvm_cpuid_entry2::index,
                       &kvm_cpuid_entry2::flags, &kvm_cpuid_entry2::eax, &kvm_cpuid_entry2::ebx,
                       &kvm_cpuid_entry2::ecx, &kvm_cpuid_entry2::edx}) {
      auto other = entries;
      other[number].*field ^= 1u << 31;
      CHECK_FALSE(table == decoded(other));
    }
    auto fewer = entries;
    fewer.erase(fewer.begin() + static_cast<ptrdiff_t>(number));
    CHECK_FALSE(table == decoded(fewer));
  }
}

TEST_CASE("cpuid: a bit without a name is listed by its place") {
  auto snapshot = processor();
  snapshot[2].ecx |= 1u << 15;
  CHECK(missing_features(table_of(snapshot), table_of(processor())) ==
        std::vector<std::string>{"cpuid 0x7.0 ecx bit 15"});
}
