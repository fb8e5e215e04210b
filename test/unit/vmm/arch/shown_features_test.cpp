// The processor of a new guest on hosts that we do not have.
#include "vmm/arch/x86_64/shown_features.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <optional>

#include "host_cpus.hpp"
#include "vmm/arch/x86_64/cpuid.hpp"
#include "vmm/arch/x86_64/saved_msrs.hpp"

using namespace microvm;
using namespace microvm::test;
using namespace microvm::vmm::x86_64;
using Guest = CpuidTable::Guest;

namespace {

CpuidTable table_on(const HostCpu& host, uint16_t vcpus = 1, Guest guest = Guest::fresh) {
  return CpuidTable::make(host.leaves, true, vcpus, guest);
}

std::optional<kvm_cpuid_entry2> find_entry(std::span<const kvm_cpuid_entry2> entries,
                                           uint32_t function, uint32_t index = 0) {
  const auto it = std::ranges::find_if(
      entries, [&](const auto& e) { return e.function == function && e.index == index; });
  if (it == entries.end()) return std::nullopt;
  return *it;
}

kvm_cpuid_entry2 entry_of(std::span<const kvm_cpuid_entry2> entries, uint32_t function,
                          uint32_t index = 0) {
  return find_entry(entries, function, index).value_or(kvm_cpuid_entry2{});
}

bool is_empty(const kvm_cpuid_entry2& e) {
  return (e.eax | e.ebx | e.ecx | e.edx) == 0;
}

constexpr uint64_t bits(std::initializer_list<unsigned> components) {
  uint64_t mask = 0;
  for (const unsigned component : components) mask |= uint64_t{1} << component;
  return mask;
}

// KVM_SET_XCRS refuses the bits of a group one by one (SDM vol. 1 §13.3).
void check_groups(uint64_t xcr0) {
  for (const uint64_t group : {bits({0}), bits({3, 4}), bits({5, 6, 7}), bits({17, 18})}) {
    INFO(group);
    const bool whole = (xcr0 & group) == 0 || (xcr0 & group) == group;
    CHECK(whole);
  }
  const bool with_avx = (xcr0 & bits({5, 6, 7})) == 0 || (xcr0 & bits({1, 2})) == bits({1, 2});
  CHECK(with_avx);
}

// Each component of the user's and the supervisor's mask is described, and no other.
void check_components(const CpuidTable& table) {
  const auto supervisor = entry_of(table.entries(), 0xd, 1);
  const uint64_t mask = table.xcr0() | uint64_t{supervisor.edx} << 32 | supervisor.ecx;
  uint32_t end = 576;
  for (unsigned component = 2; component < 63; ++component) {
    INFO(component);
    const auto described = find_entry(table.entries(), 0xd, component);
    const bool wanted = (mask >> component & 1) != 0;
    CHECK(described.has_value() == wanted);
    if (!described) continue;
    CHECK(described->eax != 0);
    if ((table.xcr0() >> component & 1) != 0) end = std::max(end, described->ebx + described->eax);
  }
  CHECK(entry_of(table.entries(), 0xd).ecx == end);
}

constexpr const char* kAmxFeatures[] = {"amx_tile", "amx_int8", "amx_bf16", "amx_fp16",
                                        "amx_complex"};

bool shows_any_amx(const CpuidTable& table) {
  return std::ranges::any_of(kAmxFeatures, [&](auto name) { return has_feature(table, name); });
}

// A feature that brings registers with it, and where those are: a component of the XSAVE image, an
// MSR, or nowhere.
struct Stateful {
  const char* feature;
  int component = -1;
  uint32_t msr = 0;
};
constexpr Stateful kStateful[] = {
    {.feature = "avx", .component = 2},
    {.feature = "mpx", .component = 3},
    {.feature = "mpx", .msr = 0xd90},
    {.feature = "avx512f", .component = 5},
    {.feature = "pku", .component = 9},
    {.feature = "amx_tile", .component = 17},
    {.feature = "amx_tile", .component = 18},
    {.feature = "xfd", .msr = 0x1c4},
    {.feature = "xsaves", .msr = 0xda0},
    {.feature = "tsc_adjust", .msr = 0x3b},
    {.feature = "tsc_deadline_timer", .msr = 0x6e0},
    {.feature = "rdtscp", .msr = 0xc0000103},
    {.feature = "rdpid", .msr = 0xc0000103},
    {.feature = "spec_ctrl", .msr = 0x48},
    {.feature = "syscall", .msr = 0xc0000082},
    {.feature = "rtm", .msr = 0x122},
    {.feature = "virt_ssbd", .msr = 0xc001011f},
    {.feature = "kvmclock2", .msr = 0x4b564d01},
    {.feature = "kvm_steal_time", .msr = 0x4b564d03},
    {.feature = "kvm_pv_eoi", .msr = 0x4b564d04},
    {.feature = "kvm_poll_control", .msr = 0x4b564d05},
    {.feature = "waitpkg"},
    {.feature = "shstk"},
    {.feature = "ibt"},
    {.feature = "monitor"},
    {.feature = "vmx"},
    {.feature = "svm"},
    {.feature = "sgx"},
    {.feature = "intel_pt"},
    {.feature = "arch_lbr"},
    {.feature = "pks"},
    {.feature = "uintr"},
    {.feature = "key_locker"},
    {.feature = "enqcmd"},
    {.feature = "fred"},
    {.feature = "pdcm"},
    {.feature = "perfctr_core"},
    {.feature = "kvm_asyncpf"},
    {.feature = "kvm_asyncpf_int"},
};

bool is_saved(const Stateful& what, const CpuidTable& table) {
  if (what.component >= 0) return (table.xcr0() >> what.component & 1) != 0;
  return what.msr != 0 && is_saved_msr(what.msr);
}

}  // namespace

TEST_CASE("shown features: half of AMX is none of it") {
  const HostCpu host = half_of_amx();
  REQUIRE(entry_of(host.leaves, 0xd).eax == 0x202e7);
  const CpuidTable table = table_on(host);
  CHECK(table.xcr0() == 0x2e7);
  CHECK_FALSE(shows_any_amx(table));
  CHECK_FALSE(has_feature(table, "xfd"));
  for (const uint32_t leaf : {0x1du, 0x1eu}) CHECK(is_empty(entry_of(table.entries(), leaf)));
  CHECK(is_empty(entry_of(table.entries(), 0x1d, 1)));
  CHECK_FALSE(find_entry(table.entries(), 0xd, 17));
  CHECK(entry_of(table.entries(), 0xd).ecx == 0xa88);
  CHECK(has_feature(table, "avx512f"));
  CHECK(has_feature(table, "avx512_fp16"));
}

TEST_CASE("shown features: all of AMX stays") {
  const CpuidTable table = table_on(whole_amx());
  CHECK(table.xcr0() == 0x602e7);
  for (const char* name : {"amx_tile", "amx_int8", "amx_bf16", "xfd"}) {
    CHECK(has_feature(table, name));
  }
  CHECK(entry_of(table.entries(), 0x1d, 1).eax == 0x4002000);
  CHECK(entry_of(table.entries(), 0x1e).ebx == 0x4010);
  CHECK(entry_of(table.entries(), 0xd).ecx == 0x2b00);
}

TEST_CASE("shown features: on every host the components of XCR0 belong together") {
  for (const HostCpu& host : host_cpus()) {
    INFO(host.name);
    const CpuidTable table = table_on(host, 2);
    check_groups(table.xcr0());
    check_components(table);
    const bool tiles = (table.xcr0() >> 17 & 1) != 0;
    CHECK(shows_any_amx(table) == tiles);
    CHECK(is_empty(entry_of(table.entries(), 0x1d)) != tiles);
  }
}

TEST_CASE("shown features: on every host the state of whatever is shown is saved") {
  for (const HostCpu& host : host_cpus()) {
    const CpuidTable table = table_on(host, 2);
    for (const Stateful& what : kStateful) {
      INFO(host.name << ": " << what.feature);
      const bool kept = !has_feature(table, what.feature) || is_saved(what, table);
      CHECK(kept);
    }
  }
}

TEST_CASE("shown features: on every host a guest sees one socket of single-threaded cores") {
  for (const HostCpu& host : host_cpus()) {
    for (const uint16_t vcpus : std::to_array<uint16_t>({1, 2, 6, 64})) {
      INFO(host.name << ", " << vcpus << " vcpus");
      const auto bits = static_cast<uint32_t>(std::bit_width(vcpus - 1u));
      const uint16_t last = static_cast<uint16_t>(vcpus - 1);
      const auto entries = table_on(host, vcpus).for_vcpu(last);
      CHECK((entry_of(entries, 0x1).ebx >> 24) == last);
      CHECK((entry_of(entries, 0x1).ebx >> 16 & 0xff) == (1u << bits));
      CHECK((entry_of(entries, 0x1).edx >> 28 & 1) == (vcpus > 1 ? 1u : 0u));
      CHECK(entry_of(entries, 0xb, 0).ebx == 1);
      CHECK(entry_of(entries, 0xb, 1).eax == bits);
      CHECK(entry_of(entries, 0xb, 1).ebx == vcpus);
      CHECK(entry_of(entries, 0xb, 1).edx == last);
      for (const uint32_t leaf : {0x4u, 0x8000001du}) {
        CHECK((entry_of(entries, leaf, 0).eax >> 14 & 0xfff) == 0);
        const auto last_level = find_entry(entries, leaf, 3);
        if (last_level) CHECK((last_level->eax >> 14 & 0xfff) == (1u << bits) - 1);
      }
    }
  }
}

TEST_CASE("shown features: nothing of another vendor") {
  for (const HostCpu& host : host_cpus()) {
    INFO(host.name);
    const CpuidTable table = table_on(host, 4);
    const bool amd = entry_of(table.entries(), 0).ebx == 0x68747541;
    CHECK(has_feature(table, "cmp_legacy") == amd);
    const bool counted = entry_of(table.entries(), 0x80000008).ecx == (2u << 12 | 3);
    CHECK(counted == amd);
    if (amd) CHECK_FALSE(has_feature(table, "arch_capabilities"));
  }
  CHECK(has_feature(table_on(no_amx()), "arch_capabilities"));
}

TEST_CASE("shown features: what an older library showed on a host still runs there") {
  for (const HostCpu& host : host_cpus()) {
    INFO(host.name);
    const CpuidTable older = table_on(host, 2, Guest::of_snapshot);
    const CpuidTable fresh = table_on(host, 2);
    CHECK_FALSE(older == fresh);
    CHECK(check_compatible(older, table_on(host, 2, Guest::of_snapshot)));
    CHECK(check_compatible(fresh, table_on(host, 2, Guest::of_snapshot)));
    CHECK(check_compatible(fresh, fresh));
  }
  CHECK(has_feature(table_on(no_amx(), 2, Guest::of_snapshot), "waitpkg"));
  CHECK_FALSE(check_compatible(table_on(no_amx(), 2, Guest::of_snapshot), table_on(no_amx(), 2)));
}

TEST_CASE("shown features: nested virtualization stays hidden, whatever a snapshot says") {
  for (const HostCpu& host : host_cpus()) {
    INFO(host.name);
    for (const char* name : {"vmx", "svm"}) {
      CHECK_FALSE(has_feature(table_on(host, 1, Guest::of_snapshot), name));
    }
  }
}
