// Files, directories and links from the host into the guest's root.
#pragma once

#include "agent/files/change_memory.hpp"
#include "agent/link/channel.hpp"

namespace microvm::agent {

// Reads entries up to put_end. Files and links replace what is there, directories that exist keep
// their owner and mode, missing parents are made. The error names the path.
[[nodiscard]] Outcome<void> run_put_files(int root, Channel& channel);

// PutTreeRequest: the same, whose answer is remembered.
[[nodiscard]] Outcome<void> run_put_tree(int root, ChangeMemory& memory, Channel& channel,
                                         const FrameHeader& header);

}  // namespace microvm::agent
