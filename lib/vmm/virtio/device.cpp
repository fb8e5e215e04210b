#include "vmm/virtio/device.hpp"

namespace microvm::vmm {

state::SectionId state_section(DeviceType type) {
  using state::SectionId;
  switch (type) {
    case DeviceType::block:
      return SectionId::virtio_block;
    case DeviceType::vsock:
      return SectionId::virtio_vsock;
    case DeviceType::rng:
      return SectionId::virtio_rng;
    default:
      return static_cast<SectionId>(static_cast<uint32_t>(SectionId::virtio_devices) +
                                    static_cast<uint32_t>(type));
  }
}

Result<void> Device::restore(wire::ByteView body) {
  if (body.empty()) return {};
  return base::fail(ErrorCode::corrupt, "virtio device state: the device has none");
}

}  // namespace microvm::vmm
