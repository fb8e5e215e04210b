// Which MSRs are a guest's state. Only these are read at a save, and only these does a snapshot
// get to write.
#pragma once

#include <cstddef>
#include <cstdint>

namespace microvm::vmm::x86_64 {

inline constexpr size_t kMaxSavedMsrs = 256;

[[nodiscard]] bool is_saved_msr(uint32_t index);

// The first version of a vCPU's section that may have it.
[[nodiscard]] uint16_t version_with(uint32_t index);

// Whether a fresh vCPU has this value anyway, so that it need not be saved.
[[nodiscard]] bool is_reset_value(uint32_t index, uint64_t value);

}  // namespace microvm::vmm::x86_64
