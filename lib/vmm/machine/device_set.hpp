// The virtio devices of a machine: the one table slot → kind → how many. Shaping, attaching, the
// tables for the guest and snapshots all walk it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/log.hpp"
#include "sys/loop.hpp"
#include "vmm/memory/guest_memory.hpp"
#include "vmm/virtio/device.hpp"
#include "wire/shape.hpp"

namespace microvm::vmm {

// What a device may use of its machine, which lives longer.
struct DeviceContext {
  GuestMemory& memory;
  sys::Loop& loop;
  const base::LogSink& log;
};

struct DeviceRow {
  const DeviceKind* kind;
  // The slot of the first one; the others follow. Snapshots hold these: no device ever moves.
  uint32_t first_slot;
  uint32_t slots;                               // room for as many
  uint32_t (*count)(const wire::Shape& shape);  // of them, how many a machine has
  // Null: whoever starts the machine attaches it, because it needs something from outside.
  std::unique_ptr<Device> (*make)(const DeviceContext& context);
};

[[nodiscard]] std::span<const DeviceRow> device_set();

// One bit per slot that a machine of the shape has a device in.
[[nodiscard]] uint32_t slots_of(const wire::Shape& shape);

}  // namespace microvm::vmm
