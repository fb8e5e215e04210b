// The names a guest knows itself by, in its files: /etc/hostname and /etc/hosts.
#pragma once

#include <string_view>

#include "agent/base/failed.hpp"

namespace microvm::agent {

// Both are made where they are missing, with /etc; links are followed inside the root. What is no
// regular file is something the image wants so, and is left alone.
[[nodiscard]] Outcome<void> write_hostname(int root, std::string_view hostname);
// One line, known by its comment, says that 127.0.1.1 is this name: it takes the place of the one
// for the name before. "localhost" is added where it is missing, all other lines are kept.
[[nodiscard]] Outcome<void> write_hosts(int root, std::string_view hostname);

}  // namespace microvm::agent
