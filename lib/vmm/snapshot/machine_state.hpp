// The body of state section `machine`, version 1: what a machine must look like to take the rest.
#pragma once

#include "base/error.hpp"
#include "vmm/machine/machine.hpp"
#include "wire/bytes.hpp"

namespace microvm::vmm::snapshot {

inline constexpr uint16_t kMachineVersion = 1;

[[nodiscard]] wire::Bytes encode_shape(const Shape& shape);
// Error corrupt.
[[nodiscard]] Result<Shape> decode_shape(wire::ByteView body);

}  // namespace microvm::vmm::snapshot
