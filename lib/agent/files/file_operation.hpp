// One thing done to one file of the guest for the host: FileRequest.
#pragma once

#include "agent/files/change_memory.hpp"
#include "agent/link/channel.hpp"

namespace microvm::agent {

// Everything up to the last frame, which is the caller's. Errors name the path.
[[nodiscard]] Outcome<void> run_file(int root, ChangeMemory& memory, Channel& channel,
                                     const FrameHeader& header);

}  // namespace microvm::agent
