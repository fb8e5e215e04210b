// The start operation: the image's command, with which the guest ends.
#pragma once

#include "agent/link/channel.hpp"

namespace microvm::agent {

struct Guest;

// Its thread becomes the one that watches the command. A host that keeps the connection is told how
// the command ended at once; the connection's end then says that the log is complete.
void run_start(Guest& guest, Channel& channel, const FrameHeader& request);

}  // namespace microvm::agent
