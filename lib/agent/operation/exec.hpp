// The exec operation: a program with its streams on one connection.
#pragma once

#include "agent/link/channel.hpp"
#include "agent/operation/guest.hpp"

namespace microvm::agent {

// Reads the rest of the request, runs the program and reports its end. The host closing (or half
// closing) the connection kills the program's process group. Errors are for the host: a request
// that breaks the wire's format.
[[nodiscard]] Outcome<void> run_exec(Guest& guest, Channel& channel, const FrameHeader& request);

}  // namespace microvm::agent
