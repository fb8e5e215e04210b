// The files that the guest of the deep probe is made of.
#pragma once

#include <filesystem>

#include "base/error.hpp"

namespace microvm::host {

// Where its program stands in the guest.
inline constexpr const char* kProbeProgram = "/probe";

// A tar of a root file system with nothing but that program in it.
Result<void> write_probe_base(const std::filesystem::path& tar);

// A directory with the Dockerfile of an image on `base`.
Result<void> write_probe_context(const std::filesystem::path& directory, const std::string& base);

}  // namespace microvm::host
