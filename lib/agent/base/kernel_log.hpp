// The agent's own words go to the kernel's log, which the host keeps.
#pragma once

#include <string_view>

namespace microvm::agent {

// Until then, messages go to standard error.
void open_kernel_log();

// Shown on the console even with `quiet`.
void log_error(std::string_view message);
void log_info(std::string_view message);

}  // namespace microvm::agent
