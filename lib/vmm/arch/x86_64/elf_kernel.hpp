// Loads an ELF vmlinux. The file is hostile: every offset and size is checked against the file and
// the guest's memory before a byte is read, and the bytes go straight into guest memory.
#pragma once

#include <cstdint>

#include "base/error.hpp"
#include "vmm/memory/guest_memory.hpp"

namespace microvm::vmm::x86_64 {

struct LoadedKernel {
  uint64_t entry = 0;  // guest-physical
  uint64_t end = 0;    // first byte behind the kernel and its bss
};

// Errors: invalid_argument (not ELF, other architecture, truncated, does not fit), io.
[[nodiscard]] Result<LoadedKernel> load_kernel(int fd, GuestMemory& memory);

}  // namespace microvm::vmm::x86_64
