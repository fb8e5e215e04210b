// This host, as the checks see it.
#pragma once

#include "host/host_checks.hpp"

namespace microvm::host {

// `data_dir` as in RuntimeOptions.
[[nodiscard]] HostView look_at_host(const std::filesystem::path& data_dir);

// For a WorkerSpawner: the data directory, which need not be there yet, or what is above it.
[[nodiscard]] std::string place_for_programs(const std::filesystem::path& data_dir);

}  // namespace microvm::host
