// What is given for a tar of a root file system by mistake, told by what it holds.
#pragma once

#include <string>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "host/image/file_tree.hpp"

namespace microvm::host {

// Of a file in which libarchive finds no tar, or an empty one: what it is, as far as its first
// bytes tell, and what to do. Error corrupt.
[[nodiscard]] base::Failure not_a_tar(const base::Fd& fd, const std::string& name);

// Errors corrupt: container images (docker save, an OCI archive), of which this also knows half
// read ones.
[[nodiscard]] Result<void> check_no_images(const FileTree& tree, const std::string& name);
// Error corrupt: a root file system, but inside a directory.
[[nodiscard]] Result<void> check_not_wrapped(const FileTree& tree, const std::string& name);

}  // namespace microvm::host
