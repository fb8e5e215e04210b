// The instructions the probe executes, as machine code the assembler made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace microvm::vmm::x86_64 {

// Where the host puts what the code uses; all in the first 4 MiB, mapped one to one.
inline constexpr uint64_t kProbeCode = 0x100000;
inline constexpr uint64_t kProbeHandler = 0x101000;  // the gate of vector 3 leads here
inline constexpr uint64_t kProbeScratch = 0x200000;  // zeroed
inline constexpr uint64_t kProbeStack = 0x2ff000;
inline constexpr uint64_t kProbeMemoryBytes = 4u << 20;

// A check is passed when the code writes this byte to this port.
inline constexpr uint16_t kProbePort = 0xf0;
inline constexpr uint8_t kProbePassed = 0x5a;

struct ProbeCheck {
  const char* name;
  std::span<const std::byte> code;
  // Only made when KVM shows this feature to guests; none: always.
  const char* feature = nullptr;
};

[[nodiscard]] std::span<const ProbeCheck> probe_checks();
[[nodiscard]] std::span<const std::byte> probe_handler();

}  // namespace microvm::vmm::x86_64
