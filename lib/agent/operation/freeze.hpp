// The freeze and thaw operations: the guest gets ready for its snapshot, and goes on after it.
#pragma once

#include "agent/link/channel.hpp"
#include "agent/operation/guest.hpp"

namespace microvm::agent {

// Answers ok when programs are stopped and, unless the request says otherwise, their files are on
// the disk. They run again after the next identity or thaw, or when the host closes this
// connection: one that died in the middle leaves nothing standing still. On an error, or with
// keep_running, they run at once.
[[nodiscard]] Outcome<void> run_freeze(Guest& guest, Channel& channel, const FrameHeader& header);
// The same as far as the answer, on a connection that is held for more than this: gives the number
// of the freeze, to be ended with the connection.
[[nodiscard]] Outcome<uint64_t> freeze_programs(Guest& guest, Channel& channel,
                                                const FrameHeader& header);
// Ends a freeze whose machine went on: clock and seed are set before the programs run.
[[nodiscard]] Outcome<void> run_thaw(Guest& guest, Channel& channel, const FrameHeader& header);

}  // namespace microvm::agent
