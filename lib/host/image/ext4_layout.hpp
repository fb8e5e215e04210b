// An empty ext4 in a sparse file, through libext2fs.
#pragma once

#include <ext2fs/ext2fs.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/error.hpp"

namespace microvm::host {

inline constexpr uint32_t kExt4BlockBytes = 4096;
inline constexpr uint64_t kMinDiskBytes = 16ull << 20;
inline constexpr uint64_t kMaxDiskBytes = 4ull << 40;

// Frees without writing; a file system is kept by ext2fs_close_free() alone.
struct Ext4Free {
  void operator()(ext2_filsys fs) const noexcept { ext2fs_free(fs); }
};
using Ext4Ptr = std::unique_ptr<struct_ext2_filsys, Ext4Free>;

// What tells the disks of one Vm from each other: the last byte of the fixed UUID.
enum class Ext4Use : uint8_t { root = 1, modules = 2 };

// `file` is open for writing, borrowed, and has `disk_bytes`. Nothing is written yet but what
// libext2fs writes by itself; the root directory and the journal are the caller's.
[[nodiscard]] Result<Ext4Ptr> format_ext4(int file, const std::string& name, uint64_t disk_bytes,
                                          Ext4Use use = Ext4Use::root);

// Adds what ext4 keeps for itself: the (empty) list of bad blocks and the journal, sized to the
// disk. The last thing that takes blocks; fs->now is set, as it stamps them.
[[nodiscard]] Result<void> add_own_inodes(ext2_filsys fs, const std::string& name);

// libext2fs's codes: an errno below 256, else its own.
[[nodiscard]] base::Failure ext4_failure(errcode_t code, const std::string& what);

}  // namespace microvm::host
