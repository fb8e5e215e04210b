// Where a copy goes that was named by a link of this host.
#pragma once

#include <filesystem>
#include <string>

#include "base/error.hpp"

namespace microvm::host {

struct CopyTarget {
  std::filesystem::path directory;
  std::string name;
};

// What the links at `directory`/`name` lead to, which need not be there; as docker cp follows them.
// The caller has named this one: nothing that a guest names is ever followed. Errors:
// invalid_argument for a circle of links, and for a device, fifo or socket, which would be
// replaced.
[[nodiscard]] Result<CopyTarget> follow_target(CopyTarget target);

}  // namespace microvm::host
