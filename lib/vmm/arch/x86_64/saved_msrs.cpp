#include "vmm/arch/x86_64/saved_msrs.hpp"

#include <algorithm>
#include <array>
#include <span>

#include "vmm/arch/x86_64/vcpu_state.hpp"

namespace microvm::vmm::x86_64 {
namespace {

// What a fresh vCPU holds: zero, or something that differs between vCPUs or KVM versions.
enum class Reset { zero, other };
// KVM does not list the MTRRs although it has them.
enum class Listed { yes, no };

struct SavedMsr {
  uint32_t first;
  uint32_t last;
  Reset reset = Reset::zero;
  Listed listed = Listed::yes;
};

// In the order they are written. The TSC comes first (set_tsc() sets it) and the deadline, a value
// of it, last.
constexpr std::array kSaved = {
    SavedMsr{0x10, 0x10, Reset::other},                // TSC
    SavedMsr{0x3b, 0x3b},                              // TSC_ADJUST
    SavedMsr{0x48, 0x48},                              // SPEC_CTRL
    SavedMsr{0xe1, 0xe1},                              // UMWAIT_CONTROL
    SavedMsr{0x122, 0x122},                            // TSX_CTRL
    SavedMsr{0x140, 0x140},                            // MISC_FEATURES_ENABLES: CPUID faults
    SavedMsr{0x174, 0x176},                            // SYSENTER_CS, ESP, EIP
    SavedMsr{0x17a, 0x17a},                            // MCG_STATUS
    SavedMsr{0x1a0, 0x1a0, Reset::other},              // MISC_ENABLE
    SavedMsr{0x1c4, 0x1c5},                            // XFD, XFD_ERR
    SavedMsr{0x1d9, 0x1d9},                            // DEBUGCTL
    SavedMsr{0x200, 0x20f, Reset::zero, Listed::no},   // MTRR, variable
    SavedMsr{0x250, 0x250, Reset::zero, Listed::no},   // MTRR, fixed 64K
    SavedMsr{0x258, 0x259, Reset::zero, Listed::no},   // MTRR, fixed 16K
    SavedMsr{0x268, 0x26f, Reset::zero, Listed::no},   // MTRR, fixed 4K
    SavedMsr{0x277, 0x277, Reset::other, Listed::no},  // PAT
    SavedMsr{0x2ff, 0x2ff, Reset::zero, Listed::no},   // MTRR, default type
    SavedMsr{0x6a0, 0x6a0},                            // U_CET
    SavedMsr{0x6a2, 0x6a2},                            // S_CET
    SavedMsr{0x6a4, 0x6a8},                            // PL0…3_SSP, INT_SSP_TAB
    SavedMsr{0xd90, 0xd90},                            // BNDCFGS: MPX
    SavedMsr{0xda0, 0xda0},                            // XSS
    SavedMsr{0xc0000081, 0xc0000084},                  // STAR, LSTAR, CSTAR, SFMASK
    SavedMsr{0xc0000102, 0xc0000103},                  // KERNEL_GS_BASE, TSC_AUX
    SavedMsr{0xc0010015, 0xc0010015, Reset::other},    // AMD HWCR
    SavedMsr{0xc001011f, 0xc001011f},                  // AMD VIRT_SPEC_CTRL
    SavedMsr{0x11, 0x12},                              // KVM: wall clock and system time, old
    SavedMsr{0x4b564d00, 0x4b564d01},                  // KVM: wall clock and system time
    SavedMsr{0x4b564d03, 0x4b564d04},                  // KVM: steal time, PV EOI
    SavedMsr{0x4b564d05, 0x4b564d05, Reset::other},    // KVM: poll control
    SavedMsr{0x6e0, 0x6e0},                            // TSC_DEADLINE
};

// Those that readers of version 1 of a vCPU's section refuse.
constexpr std::array<uint32_t, 2> kOfVersion2 = {0x140, 0xd90};

const SavedMsr* find(uint32_t index) {
  const auto it = std::ranges::find_if(
      kSaved, [&](const SavedMsr& msr) { return index >= msr.first && index <= msr.last; });
  return it == kSaved.end() ? nullptr : &*it;
}

}  // namespace

bool is_saved_msr(uint32_t index) {
  return find(index) != nullptr;
}

uint16_t version_with(uint32_t index) {
  return std::ranges::count(kOfVersion2, index) != 0 ? 2 : 1;
}

bool is_reset_value(uint32_t index, uint64_t value) {
  const SavedMsr* msr = find(index);
  return msr != nullptr && msr->reset == Reset::zero && value == 0;
}

std::vector<uint32_t> saved_msrs(std::span<const uint32_t> host_indices) {
  std::vector<uint32_t> out;
  for (const SavedMsr& msr : kSaved) {
    for (uint32_t index = msr.first; index <= msr.last; ++index) {
      const bool known = std::ranges::count(host_indices, index) != 0;
      if (known || msr.listed == Listed::no) out.push_back(index);
    }
  }
  return out;
}

}  // namespace microvm::vmm::x86_64
