// The freeze and thaw operations: the guest gets ready for its snapshot, and goes on after it.
#pragma once

#include "agent/channel.hpp"
#include "agent/guest.hpp"

namespace microvm::agent {

// Succeeds when programs are stopped and, unless the request says otherwise, their files are on the
// disk. They run again after the next identity or thaw; on an error, or with keep_running, at once.
[[nodiscard]] Outcome<void> run_freeze(Guest& guest, Channel& channel, const FrameHeader& header);
// Ends a freeze whose machine went on: clock and seed are set before the programs run.
[[nodiscard]] Outcome<void> run_thaw(Guest& guest, Channel& channel, const FrameHeader& header);

}  // namespace microvm::agent
