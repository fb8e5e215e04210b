// Settings of the calling thread's network namespace, by /proc/sys/net.
#pragma once

#include <string>

#include "base/error.hpp"

namespace microvm::net::space {

// Fine where this kernel has no such setting.
Result<void> set_sysctl(const std::string& name, const char* value);

// Of any file below /proc/sys: its first word; empty where it is not there.
std::string read_sysctl(const std::string& name);

}  // namespace microvm::net::space
