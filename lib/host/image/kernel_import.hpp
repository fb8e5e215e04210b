// A stock kernel becomes an entry of the store: vmlinux and the modules our devices need.
#pragma once

#include <filesystem>

#include "host/base/limits.hpp"
#include "host/store/store.hpp"
#include "microvm/image.hpp"

namespace microvm::host {

// `file`: a Debian linux-image .deb, a bzImage or an ELF vmlinux (the latter two bring no modules,
// so virtio, vsock and ext4 must be built in). Importing the same kernel again changes nothing, but
// that one of an older library gets its modules disk.
// Errors: not_found, corrupt (truncated), unsupported (another architecture, an unknown
// compression, a needed module is missing), out_of_disk, cancelled, deadline_exceeded.
[[nodiscard]] Result<KernelInfo> import_kernel(const Store& store,
                                               const std::filesystem::path& file,
                                               const CallLimits& limits = {});

}  // namespace microvm::host
