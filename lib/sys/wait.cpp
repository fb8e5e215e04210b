#include "sys/wait.hpp"

#include <algorithm>
#include <array>

namespace microvm::sys {
namespace {

timespec time_left(WaitLimits::Time deadline) {
  const auto left = std::max(std::chrono::nanoseconds(0),
                             std::chrono::nanoseconds(deadline - std::chrono::steady_clock::now()));
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  return {seconds.count(), (left - seconds).count()};
}

}  // namespace

Result<uint32_t> wait_fd(int fd, uint32_t events, const WaitLimits& limits) {
  // poll() skips negative fds, so "no cancel fd" needs no case of its own.
  std::array<pollfd, 2> fds{{{fd, static_cast<short>(events), 0}, {limits.cancel_fd, POLLIN, 0}}};
  while (true) {
    const timespec left = limits.deadline ? time_left(*limits.deadline) : timespec{};
    const int ready = ::ppoll(fds.data(), fds.size(), limits.deadline ? &left : nullptr, nullptr);
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return base::fail_errno("poll");
    if (ready == 0) return base::fail(ErrorCode::deadline_exceeded, "the time limit passed");
    if (fds[1].revents != 0) return base::fail(ErrorCode::cancelled, "cancelled by the caller");
    return static_cast<uint32_t>(static_cast<unsigned short>(fds[0].revents));
  }
}

}  // namespace microvm::sys
