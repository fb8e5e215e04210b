// Files that must be whole after a crash: bounded reads, complete writes, synced renames.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace microvm::host {

// O_CLOEXEC is added; without `mode` the file must exist.
[[nodiscard]] Result<base::Fd> open_file(const std::filesystem::path& path, int flags,
                                         unsigned mode = 0);
// Opens and insists on a regular file; never blocks on a FIFO or device.
[[nodiscard]] Result<base::Fd> open_regular_file(const std::filesystem::path& path);

[[nodiscard]] Result<void> write_all(int fd, std::span<const std::byte> bytes,
                                     const std::string& name);
[[nodiscard]] Result<void> pwrite_all(int fd, std::span<const std::byte> bytes, uint64_t offset,
                                      const std::string& name);
// Error corrupt when the file is larger than `max_bytes`.
[[nodiscard]] Result<std::vector<std::byte>> read_file(const std::filesystem::path& path,
                                                       size_t max_bytes);
[[nodiscard]] Result<std::string> read_text_file(const std::filesystem::path& path,
                                                 size_t max_bytes);

[[nodiscard]] Result<void> sync_path(const std::filesystem::path& path);
// Replaces `path` whole: temporary file beside it, sync, rename, sync of the directory.
[[nodiscard]] Result<void> replace_file(const std::filesystem::path& path, std::string_view text);

// already_exists when `to` is there; syncs both parents.
[[nodiscard]] Result<void> rename_new(const std::filesystem::path& from,
                                      const std::filesystem::path& to);
// Swaps two directories in one step.
[[nodiscard]] Result<void> rename_swap(const std::filesystem::path& a,
                                       const std::filesystem::path& b);

// Makes one directory, mode 0700; an existing one is fine.
[[nodiscard]] Result<void> make_dir(const std::filesystem::path& path);
// Removes what is there, tolerating others who do the same.
void remove_tree(const std::filesystem::path& path) noexcept;
// Names in a directory, sorted; empty when it is missing.
[[nodiscard]] Result<std::vector<std::string>> list_dir(const std::filesystem::path& path);

// 16 random hex digits.
[[nodiscard]] std::string random_name();

}  // namespace microvm::host
