// Blocking on one fd with a deadline and a way out: what every blocking call of the library is
// made of.
#pragma once

#include <poll.h>

#include <chrono>
#include <cstdint>
#include <optional>

#include "base/error.hpp"

namespace microvm::sys {

struct WaitLimits {
  using Time = std::chrono::steady_clock::time_point;
  std::optional<Time> deadline;  // none: for ever
  int cancel_fd = -1;            // readable: give up

  static WaitLimits within(std::chrono::milliseconds time, int cancel_fd = -1) {
    return {std::chrono::steady_clock::now() + time, cancel_fd};
  }
};

// Returns the poll events of `fd` among `events` (and POLLERR, POLLHUP) once there are some.
// Cancelling wins over readiness, readiness over the deadline. Errors: cancelled,
// deadline_exceeded.
Result<uint32_t> wait_fd(int fd, uint32_t events, const WaitLimits& limits = {});

}  // namespace microvm::sys
