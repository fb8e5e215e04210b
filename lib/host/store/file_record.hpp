// The record of a file that is there: size and digest, read once.
#pragma once

#include <filesystem>
#include <string>

#include "host/base/limits.hpp"
#include "host/store/manifest.hpp"

namespace microvm::host {

// Errors: io, those of `check`.
Result<FileRecord> record_of(const std::filesystem::path& dir, const std::string& file,
                             const CallCheck& check);

}  // namespace microvm::host
