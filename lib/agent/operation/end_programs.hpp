// The end_programs operation: what a build step has left running does not see the next one.
#pragma once

#include "agent/base/failed.hpp"
#include "agent/operation/guest.hpp"

namespace microvm::agent {

// Kills all processes of programs, whoever their parents are now, and returns when they are gone,
// with the ports and files they held. The image's command is not one of them. Error ETIMEDOUT.
[[nodiscard]] Outcome<void> run_end_programs(Guest& guest);

}  // namespace microvm::agent
