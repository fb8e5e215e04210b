// What microvm-net is to go by, in the Vm's directory (wire::kNetworkFile): the one place where a
// Vm's policy stands, so that whoever starts, resumes or forks it finds the same.
#pragma once

#include <filesystem>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "wire/network_setup.hpp"

namespace microvm::host {

// Of a directory that nobody knows yet.
[[nodiscard]] Result<void> write_new_setup(const std::filesystem::path& vm_dir,
                                           const wire::NetworkSetup& setup);
// After return, and after any crash, it is the old or the new one.
[[nodiscard]] Result<void> replace_setup(const std::filesystem::path& vm_dir,
                                         const wire::NetworkSetup& setup);
// To be passed on; read-only.
[[nodiscard]] Result<base::Fd> open_setup(const std::filesystem::path& vm_dir);
// Errors: not_found, corrupt, unsupported (a newer version).
[[nodiscard]] Result<wire::NetworkSetup> read_setup(const std::filesystem::path& vm_dir);

}  // namespace microvm::host
