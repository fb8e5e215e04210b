// The operations on terminal sessions. A session belongs to the guest, not to the connection that
// opened it: closing one only detaches, and so a session outlives its clients and a snapshot.
#pragma once

#include "agent/link/channel.hpp"
#include "agent/operation/guest.hpp"

namespace microvm::agent {

// Both hand their connection over to the session.
[[nodiscard]] Outcome<void> run_pty_open(Guest& guest, Channel& channel, const FrameHeader& header);
[[nodiscard]] Outcome<void> run_pty_attach(Guest& guest, Channel& channel,
                                           const FrameHeader& header);

[[nodiscard]] Outcome<void> run_pty_list(Guest& guest, Channel& channel);
// Hangs up, waits for the program's end and forgets the session.
[[nodiscard]] Outcome<void> run_pty_close(Guest& guest, Channel& channel,
                                          const FrameHeader& header);

}  // namespace microvm::agent
