// The start operation: the image's command, with which the guest ends.
#pragma once

#include "agent/link/channel.hpp"

namespace microvm::agent {

struct Guest;

// Its thread becomes the one that watches the command.
void run_start(Guest& guest, Channel& channel, const FrameHeader& request);

}  // namespace microvm::agent
