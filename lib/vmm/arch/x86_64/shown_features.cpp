#include "vmm/arch/x86_64/shown_features.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

namespace microvm::vmm::x86_64 {
namespace {

using Entry = kvm_cpuid_entry2;

// Components of the XSAVE image (SDM vol. 1 §13.1).
constexpr uint64_t kShadowStackState = uint64_t{3} << 11;  // user, supervisor
constexpr uint64_t kTileState = uint64_t{3} << 17;         // configuration, data
// Below it stand the legacy region and the header.
constexpr uint32_t kLegacyImageBytes = 576;

// Bits of leaf 7, numbers as in feature_names.cpp.
constexpr uint32_t kWaitpkg = 1u << 5, kShadowStack = 1u << 7;                         // 0 ecx
constexpr uint32_t kIndirectBranchTracking = 1u << 20, kCapabilitiesShown = 1u << 29;  // 0 edx
constexpr uint32_t kAmx = 1u << 22 | 1u << 24 | 1u << 25;                              // 0 edx
constexpr uint32_t kAmxFp16 = 1u << 21;                                                // 1 eax
constexpr uint32_t kAmxComplex = 1u << 8;                                              // 1 edx
constexpr uint32_t kXfd = 1u << 4;          // leaf 0xd, 1 eax: only AMX is turned on late
constexpr uint32_t kLegacyCores = 1u << 1;  // leaf 0x80000001 ecx
constexpr std::array<uint32_t, 2> kTileLeaves = {0x1d, 0x1e};

Entry* entry_of(std::vector<Entry>& entries, uint32_t function, uint32_t index) {
  const auto it = std::ranges::find_if(
      entries, [&](const Entry& e) { return e.function == function && e.index == index; });
  return it == entries.end() ? nullptr : &*it;
}

bool is_of_amd(std::vector<Entry>& entries) {
  constexpr uint32_t kAuthenticAmd = 0x68747541, kHygonGenuine = 0x6f677948;  // "Auth", "Hygo"
  const Entry* e = entry_of(entries, 0, 0);
  return e != nullptr && (e->ebx == kAuthenticAmd || e->ebx == kHygonGenuine);
}

bool shows_tiles(std::vector<Entry>& entries) {
  const Entry* e = entry_of(entries, 0xd, 0);
  return e != nullptr && (e->eax & kTileState) == kTileState;
}

// Of all that XCR0 may turn on: leaf 0xd, subleaf n has a component's size and place.
uint32_t image_bytes(const std::vector<Entry>& entries, uint64_t components) {
  uint32_t end = kLegacyImageBytes;
  for (const Entry& e : entries) {
    if (e.function != 0xd || e.index < 2 || e.index > 63) continue;
    if ((components >> e.index & 1) != 0) end = std::max(end, e.ebx + e.eax);
  }
  return end;
}

void hide_components(std::vector<Entry>& entries, uint64_t components) {
  std::erase_if(entries, [&](const Entry& e) {
    return e.function == 0xd && e.index >= 2 && e.index < 64 && (components >> e.index & 1) != 0;
  });
  if (Entry* user = entry_of(entries, 0xd, 0); user != nullptr) {
    user->eax &= static_cast<uint32_t>(~components);
    user->edx &= static_cast<uint32_t>(~components >> 32);
    user->ecx = image_bytes(entries, uint64_t{user->edx} << 32 | user->eax);
  }
  if (Entry* supervisor = entry_of(entries, 0xd, 1); supervisor != nullptr) {
    supervisor->ecx &= static_cast<uint32_t>(~components);
    supervisor->edx &= static_cast<uint32_t>(~components >> 32);
  }
}

void hide_tiles(std::vector<Entry>& entries) {
  hide_components(entries, kTileState);
  for (Entry& e : entries) {
    if (e.function == 7 && e.index == 0) e.edx &= ~kAmx;
    if (e.function == 7 && e.index == 1) {
      e.eax &= ~kAmxFp16;
      e.edx &= ~kAmxComplex;
    }
    if (e.function == 0xd && e.index == 1) e.eax &= ~kXfd;
    if (std::ranges::count(kTileLeaves, e.function) != 0) e.eax = e.ebx = e.ecx = e.edx = 0;
  }
}

void hide_unsaved(Entry& leaf7) {
  leaf7.ecx &= ~(kWaitpkg | kShadowStack);
  leaf7.edx &= ~kIndirectBranchTracking;
}

void hide_other_vendors(std::vector<Entry>& entries, bool amd) {
  for (Entry& e : entries) {
    if (amd && e.function == 7 && e.index == 0) e.edx &= ~kCapabilitiesShown;
    if (!amd && e.function == 0x80000001) e.ecx &= ~kLegacyCores;
    if (!amd && e.function == 0x80000008) e.ecx = 0;
  }
}

}  // namespace

void hide_from_new_guests(std::vector<Entry>& entries) {
  if (Entry* e = entry_of(entries, 7, 0); e != nullptr) hide_unsaved(*e);
  hide_components(entries, kShadowStackState);
  if (!shows_tiles(entries)) hide_tiles(entries);
  hide_other_vendors(entries, is_of_amd(entries));
}

}  // namespace microvm::vmm::x86_64
