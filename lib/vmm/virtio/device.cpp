#include "vmm/virtio/device.hpp"

namespace microvm::vmm {

Result<void> Device::restore(wire::ByteView body) {
  if (body.empty()) return {};
  return base::fail(ErrorCode::corrupt, "virtio device state: the device has none");
}

}  // namespace microvm::vmm
