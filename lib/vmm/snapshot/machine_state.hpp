// The body of state section `machine`: what a machine must look like to take the rest.
//   version 1  u64 memory, u16 vcpus, u16 disks; the peaks are these, there are no nets
//   version 2  the same, u64 peak memory, u16 peak vcpus, u16 nets; what later libraries add
// New fields go to the end, and zero in one means what there was before it. So a body may be longer
// than a library knows as long as the rest is zeros: it then says nothing that this one has to
// know. The version is only for what cannot be said like that.
#pragma once

#include "base/error.hpp"
#include "wire/bytes.hpp"
#include "wire/shape.hpp"

namespace microvm::vmm::snapshot {

inline constexpr uint16_t kMachineVersion = 2;

[[nodiscard]] wire::Bytes encode_shape(const wire::Shape& shape);
// Of a body of one of these versions. Errors: corrupt, unsupported (it has more than we know).
[[nodiscard]] Result<wire::Shape> decode_shape(wire::ByteView body, uint16_t version);

}  // namespace microvm::vmm::snapshot
