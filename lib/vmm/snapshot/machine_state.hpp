// The body of state section `machine`: what a machine must look like to take the rest.
//   version 1  u64 memory, u16 vcpus, u16 disks; the peaks are these, there are no nets
//   version 2  the same, u64 peak memory, u16 peak vcpus, u16 nets, u32 slots,
//              u8 transport (wire::TransportKind); what later libraries add
// New fields go to the end, and zero in one means what there was before it. So a body may be longer
// than a library knows as long as the rest is zeros: it then says nothing that this one has to
// know. The version is only for what cannot be said like that.
#pragma once

#include "base/error.hpp"
#include "wire/bytes.hpp"
#include "wire/shape.hpp"

namespace microvm::vmm::snapshot {

inline constexpr uint16_t kMachineVersion = 2;

struct MachineState {
  wire::Shape shape;
  // One bit per slot that the guest knows a device in (machine/device_set.hpp). Zero in the file:
  // its disks in slots 0 to 3, vsock in 4, rng in 5.
  uint32_t slots = 0;
};

[[nodiscard]] wire::Bytes encode_machine(const MachineState& state);
// Of a body of one of these versions. Errors: corrupt, unsupported (it has more than we know).
[[nodiscard]] Result<MachineState> decode_machine(wire::ByteView body, uint16_t version);

}  // namespace microvm::vmm::snapshot
