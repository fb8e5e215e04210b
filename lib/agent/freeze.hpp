// The freeze operation: the guest gets ready for its snapshot.
#pragma once

#include "agent/channel.hpp"
#include "agent/guest.hpp"

namespace microvm::agent {

// Succeeds when programs are stopped and their files are on the disk. They run again after the next
// identity; on an error, at once.
[[nodiscard]] Outcome<void> run_freeze(Guest& guest, Channel& channel, const FrameHeader& header);

}  // namespace microvm::agent
