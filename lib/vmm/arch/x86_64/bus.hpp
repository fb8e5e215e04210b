// What the guest reaches by its ports, apart from virtio devices.
#pragma once

#include <cstdint>

#include "vmm/kvm/vcpu.hpp"

namespace microvm::vmm::x86_64 {

struct BusAccess {
  enum class To { nothing, serial, power };
  To to = To::nothing;
  uint16_t at = 0;  // the register of the serial port, or what Power calls it
};

// Our ports are bytes: wider accesses to them reach nothing.
[[nodiscard]] BusAccess find_on_bus(const kvm::Exit& exit);

}  // namespace microvm::vmm::x86_64
