// The record of a file that is there: size and digest, read once.
#pragma once

#include <filesystem>
#include <string>

#include "host/store/manifest.hpp"
#include "microvm/cancel.hpp"

namespace microvm::host {

// Errors: io, cancelled, deadline_exceeded.
Result<FileRecord> record_of(const std::filesystem::path& dir, const std::string& file,
                             const CallLimits& limits = {});

}  // namespace microvm::host
