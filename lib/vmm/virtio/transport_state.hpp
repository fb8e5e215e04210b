// The saved fields that every transport has: the format of state section virtio_transport, version
// 1.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.hpp"
#include "vmm/virtio/queue.hpp"
#include "wire/bytes.hpp"

namespace microvm::vmm {

inline constexpr uint16_t kTransportStateVersion = 1;
inline constexpr uint16_t kMaxQueues = 8;

struct TransportState {
  uint32_t device_type = 0;
  uint32_t status = 0;
  uint64_t driver_features = 0;
  uint32_t device_features_sel = 0;
  uint32_t driver_features_sel = 0;
  uint32_t queue_sel = 0;
  uint32_t interrupt_status = 0;
  uint32_t config_generation = 0;
  std::vector<QueueSetup> queues;
  std::vector<QueuePosition> positions;  // as many

  [[nodiscard]] wire::Bytes encode() const;
  // Checks the structure; whether the values fit the device is the transport's to say.
  static Result<TransportState> decode(wire::ByteView body);
};

}  // namespace microvm::vmm
