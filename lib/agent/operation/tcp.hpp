// The operations on TCP ports.
#pragma once

#include "agent/link/channel.hpp"
#include "agent/operation/guest.hpp"

namespace microvm::agent {

// Answers ok and relays until both sides have ended; or fails with why there is no connection.
[[nodiscard]] Outcome<void> run_tcp_connect(Guest& guest, Channel& channel,
                                            const FrameHeader& request);

// Succeeds as soon as something accepts connections on the port.
[[nodiscard]] Outcome<void> run_wait_port(Guest& guest, Channel& channel,
                                          const FrameHeader& request);

}  // namespace microvm::agent
