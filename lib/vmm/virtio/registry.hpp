// One row per kind of device.
#pragma once

#include <array>
#include <cstdint>

#include "state/sections.hpp"
#include "vmm/virtio/device.hpp"

namespace microvm::vmm {

struct DeviceRow {
  DeviceType type;
  const char* name;
  uint16_t queues;  // known before the device exists: pooled workers make its ioeventfds
  state::SectionId section;
  uint16_t section_version;
};

inline constexpr std::array kDeviceRegistry = {
    DeviceRow{DeviceType::block, "block", 1, state::SectionId::virtio_block, 1},
    DeviceRow{DeviceType::vsock, "vsock", 3, state::SectionId::virtio_vsock, 1},
    DeviceRow{DeviceType::rng, "rng", 1, state::SectionId::virtio_rng, 1},
};

[[nodiscard]] constexpr const DeviceRow& device_row(DeviceType type) {
  for (const DeviceRow& row : kDeviceRegistry) {
    if (row.type == type) return row;
  }
  return kDeviceRegistry.front();  // unreachable: every DeviceType has a row, see the unit test
}

}  // namespace microvm::vmm
