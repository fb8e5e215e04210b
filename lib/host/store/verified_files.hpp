// Whether the files of an entry are what was written. Reading gigabytes before every launch would
// cost what a restore saves, so content is checked once and a stamp beside the files remembers what
// state of them was good (their ctimes, which no ordinary write leaves alone).
#pragma once

#include <filesystem>
#include <span>

#include "host/base/limits.hpp"
#include "host/store/manifest.hpp"

namespace microvm::host {

struct FileToVerify {
  const FileRecord* record = nullptr;
  int fd = -1;
};

// Sizes always; digests where the stamp does not vouch for the files. Error: corrupt.
Result<void> verify_files(const std::filesystem::path& entry_dir,
                          std::span<const FileToVerify> files, const Limits& limits);

}  // namespace microvm::host
