// From what a distribution calls vmlinuz to the ELF kernel inside.
#pragma once

#include <string>

#include "base/error.hpp"
#include "host/image/bytes.hpp"

namespace microvm::host {

// `image`: a bzImage (its payload is unpacked) or an ELF vmlinux (checked and returned).
// Errors: unsupported (another architecture, an unknown compression), corrupt, out_of_memory.
[[nodiscard]] Result<Bytes> extract_vmlinux(Bytes image, const std::string& name);

}  // namespace microvm::host
