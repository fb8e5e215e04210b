// Places and bits of a PCI function's configuration space, and of what virtio has in it and behind
// its one BAR. Snapshots hold all of it: a guest looks once where things are.
#pragma once

#include <cstdint>

namespace microvm::vmm::pci {

// ---- configuration space, PCI Local Bus 3.0 §6.1, §6.2 ------------------------------------------
inline constexpr uint32_t kVendorId = 0x00;
inline constexpr uint32_t kDeviceId = 0x02;
inline constexpr uint32_t kCommand = 0x04;
inline constexpr uint32_t kStatus = 0x06;
inline constexpr uint32_t kRevision = 0x08;
inline constexpr uint32_t kClass = 0x09;  // three bytes: interface, subclass, class
inline constexpr uint32_t kCacheLine = 0x0c;
inline constexpr uint32_t kLatencyTimer = 0x0d;
inline constexpr uint32_t kBar0 = 0x10;
inline constexpr uint32_t kSubsystemVendor = 0x2c;
inline constexpr uint32_t kSubsystem = 0x2e;
inline constexpr uint32_t kCapabilities = 0x34;
inline constexpr uint32_t kInterruptLine = 0x3c;
inline constexpr uint32_t kFirstCapability = 0x40;

inline constexpr uint16_t kMemoryOn = 1u << 1;  // of the command
inline constexpr uint16_t kBusMaster = 1u << 2;
inline constexpr uint16_t kNoPinInterrupts = 1u << 10;
inline constexpr uint16_t kHasCapabilities = 1u << 4;  // of the status

inline constexpr uint16_t kVirtioVendor = 0x1af4;
inline constexpr uint16_t kVirtioDevice = 0x1040;  // + the type of the device. virtio 1.2 §4.1.2
inline constexpr uint8_t kModernRevision = 1;

// ---- capabilities: virtio 1.2 §4.1.4, PCI 3.0 §6.8.2 --------------------------------------------
inline constexpr uint8_t kVendorCapability = 0x09;
inline constexpr uint8_t kMsixCapability = 0x11;

enum WindowKind : uint8_t {
  kCommonWindow = 1,
  kNotifyWindow = 2,
  kIsrWindow = 3,
  kDeviceWindow = 4,
  kAccessWindow = 5,  // reaches the BAR through configuration space
};

// Of the MSI-X capability's control word, which follows its header.
inline constexpr uint32_t kMsixControl = 2;
inline constexpr uint16_t kMsixEnabled = 1u << 15;
inline constexpr uint16_t kMsixMasked = 1u << 14;  // all vectors

// Of the access window's capability, from its start.
inline constexpr uint32_t kAccessBar = 4;
inline constexpr uint32_t kAccessOffset = 8;
inline constexpr uint32_t kAccessLength = 12;
inline constexpr uint32_t kAccessData = 16;

// ---- behind BAR 0: a page for each kind of register ---------------------------------------------
inline constexpr uint64_t kBarBytes = 0x8000;
inline constexpr uint64_t kPage = 0x1000;
inline constexpr uint64_t kCommonAt = 0x0000;
inline constexpr uint64_t kIsrAt = 0x1000;
inline constexpr uint64_t kDeviceAt = 0x2000;
inline constexpr uint64_t kNotifyAt = 0x3000;
inline constexpr uint64_t kNotifyStride = 4;  // each queue has a place of its own
inline constexpr uint64_t kMsixTableAt = 0x4000;
inline constexpr uint64_t kMsixPendingAt = 0x5000;

// ---- the common registers, virtio 1.2 §4.1.4.3 --------------------------------------------------
enum CommonRegister : uint64_t {
  kDeviceFeatureSelect = 0x00,
  kDeviceFeature = 0x04,
  kDriverFeatureSelect = 0x08,
  kDriverFeature = 0x0c,
  kConfigVector = 0x10,
  kNumQueues = 0x12,
  kDeviceStatus = 0x14,
  kConfigGeneration = 0x15,
  kQueueSelect = 0x16,
  kQueueSize = 0x18,
  kQueueVector = 0x1a,
  kQueueEnable = 0x1c,
  kQueueNotifyOff = 0x1e,
  kQueueDescLow = 0x20,
  kQueueDescHigh = 0x24,
  kQueueDriverLow = 0x28,
  kQueueDriverHigh = 0x2c,
  kQueueDeviceLow = 0x30,
  kQueueDeviceHigh = 0x34,
};
inline constexpr uint32_t kCommonBytes = 0x38;

}  // namespace microvm::vmm::pci
