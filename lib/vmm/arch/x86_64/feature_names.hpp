// CPUID feature words and the names of their bits, as /proc/cpuinfo and QEMU spell them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace microvm::vmm::x86_64 {

enum class CpuidRegister : uint8_t { eax, ebx, ecx, edx };

struct FeatureWord {
  uint32_t function;
  uint32_t index;
  CpuidRegister reg;
  std::string_view names;  // bit 0 first, separated by spaces; "-" or the end: no name
};

// All words in which a set bit promises the guest something.
[[nodiscard]] std::span<const FeatureWord> feature_words();

// "avx2", or "cpuid 0x7.0 ebx bit 13" where there is no name.
[[nodiscard]] std::string feature_name(const FeatureWord& word, unsigned bit);

// Names of XSAVE components: "avx", "pkru".
[[nodiscard]] std::string xsave_component_name(unsigned component);

}  // namespace microvm::vmm::x86_64
