// Reads a tar of a root file system: the tree into memory, the files' data onto the disk.
#pragma once

#include <filesystem>

#include "host/base/limits.hpp"
#include "host/image/ext4_writer.hpp"
#include "host/image/file_tree.hpp"
#include "microvm/image.hpp"

namespace microvm::host {

// `step` is Progress::step. Errors: as of import_base.
[[nodiscard]] Result<void> read_tar(const std::filesystem::path& tar, FileTree& tree,
                                    Ext4Writer& disk, const std::string& step,
                                    const ProgressSink& progress, const CallCheck& check);

}  // namespace microvm::host
