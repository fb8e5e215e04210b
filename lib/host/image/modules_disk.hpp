// All modules of a kernel, compressed as they come, with their indexes: a disk that each microVM of
// that kernel has at /lib/modules/RELEASE.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "base/error.hpp"
#include "host/base/limits.hpp"
#include "host/image/bytes.hpp"

namespace microvm::host {

inline constexpr const char* kModulesDisk = "modules.ext4";

// Of a package, by their paths below lib/modules/RELEASE: "kernel/fs/fuse/fuse.ko.xz",
// "modules.builtin" …
using ModuleFiles = std::map<std::string, Bytes>;

// Of "lib/modules/6.12.1/kernel/x.ko", also below usr/: "kernel/x.ko"; empty when it stands
// elsewhere.
[[nodiscard]] std::string path_of_module_file(const std::string& file);

// `file` is new and empty. The same modules give the same bytes. Errors: corrupt (a module that is
// none), out_of_disk, cancelled, deadline_exceeded.
[[nodiscard]] Result<void> write_modules_disk(const std::filesystem::path& file,
                                              const ModuleFiles& files, const CallCheck& check);

}  // namespace microvm::host
