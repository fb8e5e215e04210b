// The kernel asks for a module by starting the program that /proc/sys/kernel/modprobe names. That
// is this program, whatever the image has.
#pragma once

#include "agent/base/failed.hpp"

namespace microvm::agent {

// In the root, with /dev and /proc: from now on the kernel asks us.
[[nodiscard]] Outcome<void> answer_module_requests();

// Whether this process was started to answer one. iptables and others that read the file start it,
// too.
[[nodiscard]] bool is_module_request(int argc, char** argv);

// "-q -- NAME"; the exit status.
[[nodiscard]] int load_requested_module(int argc, char** argv);

}  // namespace microvm::agent
