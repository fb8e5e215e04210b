// The kernel's boot_id never changes, not even in a clone: so a file of ours covers it.
#pragma once

#include <string_view>

#include "agent/base/failed.hpp"

namespace microvm::agent {

// A UUID in its text form. What reads /proc/sys/kernel/random/boot_id afterwards gets this one.
[[nodiscard]] Outcome<void> set_boot_id(std::string_view uuid);

}  // namespace microvm::agent
