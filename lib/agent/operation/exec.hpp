// The operations on programs of exec. Such a program belongs to the guest, not to the connection
// that started it, unless its host is of a version that knows no way back to it.
#pragma once

#include "agent/link/channel.hpp"
#include "agent/operation/guest.hpp"

namespace microvm::agent {

// Reads the rest of the request and runs the program in a session, which has the connection from
// then on. Errors are for the host: a request that breaks the wire's format, an id that is taken.
[[nodiscard]] Outcome<void> run_exec(Guest& guest, Channel& channel, const FrameHeader& request);
[[nodiscard]] Outcome<void> run_exec_attach(Guest& guest, Channel& channel,
                                            const FrameHeader& header);
[[nodiscard]] Outcome<void> run_exec_list(Guest& guest, Channel& channel);
[[nodiscard]] Outcome<void> run_exec_signal(Guest& guest, Channel& channel,
                                            const FrameHeader& header);
// The session tells how the program ended, when it has.
[[nodiscard]] Outcome<void> run_exec_wait(Guest& guest, Channel& channel,
                                          const FrameHeader& header);

}  // namespace microvm::agent
