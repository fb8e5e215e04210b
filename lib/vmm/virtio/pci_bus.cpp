#include "vmm/virtio/pci_bus.hpp"

#include <algorithm>

#include "vmm/virtio/pci_registers.hpp"

namespace microvm::vmm {
namespace {

// bits 12 to 14 of an address are the function, 15 to 19 the device
constexpr uint32_t kFunctionShift = 12;
constexpr uint32_t kDeviceShift = 15;
constexpr uint32_t kRegisters = 1u << kFunctionShift;

// Red Hat's numbers for the host bridge that QEMU has where there is no chipset to be like.
constexpr uint16_t kBridgeVendor = 0x1b36;
constexpr uint16_t kBridgeDevice = 0x0008;
constexpr uint8_t kBridgeClass = 0x06;  // its subclass is 0, a host bridge

}  // namespace

HostBridge::HostBridge() {
  config_.put(pci::kVendorId, kBridgeVendor);
  config_.put(pci::kDeviceId, kBridgeDevice);
  config_.put(pci::kClass + 2, kBridgeClass);
}

void HostBridge::config_read(uint32_t offset, std::span<std::byte> data) {
  config_.read(offset, data);
}

PciFunction* PciBus::function_at(uint64_t offset) const {
  const uint64_t device = offset >> kDeviceShift;
  const bool first_function = (offset >> kFunctionShift & 7) == 0;
  return device < kDevices && first_function ? functions_[device] : nullptr;
}

void PciBus::read(uint64_t offset, std::span<std::byte> data) const {
  std::ranges::fill(data, std::byte{0xff});
  PciFunction* function = function_at(offset);
  if (function != nullptr) function->config_read(offset % kRegisters, data);
}

void PciBus::write(uint64_t offset, std::span<const std::byte> data) const {
  PciFunction* function = function_at(offset);
  if (function != nullptr) function->config_write(offset % kRegisters, data);
}

}  // namespace microvm::vmm
