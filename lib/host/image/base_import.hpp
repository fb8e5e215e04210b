// A tar of a root file system becomes a base: one sparse ext4 file in the store.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "host/base/limits.hpp"
#include "host/store/store.hpp"
#include "microvm/image.hpp"

namespace microvm::host {

struct BaseImportOptions {
  std::string name;           // "debian:bookworm"
  std::filesystem::path tar;  // any compression libarchive knows
  uint64_t disk_bytes = kDefaultDiskBytes;
  ProgressSink progress;
};

// The same tar gives the same bytes and so the same digest. Errors: invalid_argument (name, size,
// content larger than disk_bytes), not_found, corrupt (not a tar, container images in place of a
// root file system or that inside a directory, truncated, an entry that leaves the root),
// out_of_disk, cancelled, deadline_exceeded.
[[nodiscard]] Result<BaseInfo> import_base(const Store& store, const BaseImportOptions& options,
                                           const CallLimits& limits = {});

}  // namespace microvm::host
