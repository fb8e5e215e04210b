// The initramfs: the agent as /init and the kernel's modules as /modules/NN-name.ko.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "host/store/store.hpp"

namespace microvm::host {

struct InitramfsModule {
  std::string file;  // "NN-name.ko"
  std::vector<std::byte> bytes;
};

// newc cpio, not compressed; the same input gives the same bytes.
[[nodiscard]] Result<std::vector<std::byte>> make_initramfs(
    std::span<const std::byte> agent, std::span<const InitramfsModule> modules);

// With the modules of a stored kernel, whose digests are checked. Errors: corrupt.
[[nodiscard]] Result<std::vector<std::byte>> make_initramfs(std::span<const std::byte> agent,
                                                            const KernelEntry& kernel);

}  // namespace microvm::host
