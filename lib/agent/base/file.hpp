// Small files, read and written with bounds. Paths are resolved inside a root, so a link in a
// hostile image leads nowhere else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "agent/base/failed.hpp"
#include "base/fd.hpp"

namespace microvm::agent {

// open(2) with every link, ".." and absolute path kept inside `root`; close-on-exec.
[[nodiscard]] base::Fd open_in_root(int root, const char* path, int flags);

// The whole of a regular file. A pipe, a device or more than `limit` bytes is an error.
[[nodiscard]] Outcome<std::string> read_file(int root, const char* path, size_t limit);

// One write of all bytes, for the files of /proc, /sys and cgroups. Empty on success.
[[nodiscard]] Outcome<void> write_file_at(int directory, const char* path,
                                          std::string_view content);
[[nodiscard]] Outcome<void> write_file(const char* path, std::string_view content);

// True when everything was written.
[[nodiscard]] bool write_all(int fd, std::string_view content);

// A regular file gets new content as one step: readers see the old or the new one, never a mixture.
[[nodiscard]] Outcome<void> replace_file(int root, const char* directory, const char* name,
                                         std::string_view content, uint32_t mode);

}  // namespace microvm::agent
