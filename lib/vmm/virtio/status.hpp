// What the status and interrupt status registers of every transport hold.
#pragma once

#include <cstdint>

namespace microvm::vmm::status {

// virtio 1.2 §2.1
enum Status : uint32_t {
  kAcknowledge = 1,
  kDriver = 2,
  kDriverOk = 4,
  kFeaturesOk = 8,
  kNeedsReset = 64,
  kFailed = 128,
};
inline constexpr uint32_t kDriverStatus =
    kAcknowledge | kDriver | kDriverOk | kFeaturesOk | kFailed;

// Bits of the interrupt status.
inline constexpr uint32_t kUsedBuffer = 1;
inline constexpr uint32_t kConfigChange = 2;

}  // namespace microvm::vmm::status
