// VMGENID: a GUID in guest memory that changes whenever the guest was cloned, and an interrupt
// (through the ACPI generic event device) that says so. The guest kernel reseeds its RNG from it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/error.hpp"
#include "vmm/memory/guest_memory.hpp"
#include "vmm/virtio/irq.hpp"

namespace microvm::vmm {

using GenerationGuid = std::array<std::byte, 16>;

// Writes a fresh random GUID to a guest address; at boot, before the guest runs.
[[nodiscard]] Result<void> write_generation_id(GuestMemory& memory, uint64_t address);
// The same and the interrupt; after a restore, when the interrupt chips are restored.
[[nodiscard]] Result<void> renew_generation_id(GuestMemory& memory, uint64_t address, Irq& irq);

}  // namespace microvm::vmm
