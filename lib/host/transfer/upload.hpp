// Files of the host, or out of a tar, into a directory of the guest.
#pragma once

#include <filesystem>

#include "host/session/file_transfer.hpp"

namespace microvm::host {

// Each call is an attempt at `change`.
[[nodiscard]] Result<TransferTotals> upload_tree(const std::shared_ptr<AgentLink>& link,
                                                 const std::filesystem::path& path,
                                                 const std::string& directory,
                                                 const UploadOptions& options, const Limits& limits,
                                                 FileChange& change);

[[nodiscard]] Result<TransferTotals> upload_tar(const std::shared_ptr<AgentLink>& link,
                                                const DataSource& tar, const std::string& directory,
                                                const UploadOptions& options, const Limits& limits,
                                                FileChange& change);

// The error of more entries than the options allow.
[[nodiscard]] base::Failure too_many_entries(const UploadOptions& options);

}  // namespace microvm::host
