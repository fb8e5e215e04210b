#include "vmm/machine/device_set.hpp"

#include <array>

#include "vmm/virtio/block.hpp"
#include "vmm/virtio/net.hpp"
#include "vmm/virtio/rng.hpp"
#include "vmm/virtio/vsock/vsock.hpp"

namespace microvm::vmm {
namespace {

uint32_t disks(const wire::Shape& shape) {
  return shape.disks;
}

uint32_t nets(const wire::Shape& shape) {
  return shape.nets;
}

uint32_t one(const wire::Shape&) {
  return 1;
}

template <class SomeDevice>
std::unique_ptr<Device> make(const DeviceContext&) {
  return std::make_unique<SomeDevice>();
}

// Slots 7 to 11 are free (arch/: there are twelve).
constexpr std::array kDeviceSet = {
    DeviceRow{&BlockDevice::kKind, 0, wire::kMaxDisks, disks, nullptr},
    DeviceRow{&VsockDevice::kKind, 4, 1, one, nullptr},
    DeviceRow{&RngDevice::kKind, 5, 1, one, make<RngDevice>},
    DeviceRow{&NetDevice::kKind, 6, wire::kMaxNets, nets, nullptr},
};

}  // namespace

std::span<const DeviceRow> device_set() {
  return kDeviceSet;
}

uint32_t slots_of(const wire::Shape& shape) {
  uint32_t slots = 0;
  for (const DeviceRow& row : kDeviceSet) {
    slots |= ((1u << row.count(shape)) - 1) << row.first_slot;
  }
  return slots;
}

}  // namespace microvm::vmm
