#include "agent/base/cgroup.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <string_view>

#include "agent/base/time.hpp"
#include "base/fd.hpp"

namespace microvm::agent {
namespace {

bool is_populated(int events) {
  char text[256];
  const ssize_t count = pread(events, text, sizeof text, 0);
  return count > 0 && std::string_view(text, static_cast<size_t>(count)).find("populated 1") !=
                          std::string_view::npos;
}

}  // namespace

bool wait_until_empty(int cgroup, int64_t timeout_ms) {
  const base::Fd events(openat(cgroup, "cgroup.events", O_RDONLY | O_CLOEXEC));
  if (!events) return true;
  const auto deadline = Deadline::after_ms(timeout_ms);
  while (is_populated(events.get())) {
    if (deadline.passed()) return false;
    pollfd wait{.fd = events.get(), .events = POLLPRI, .revents = 0};
    poll(&wait, 1, deadline.poll_timeout_ms());
  }
  return true;
}

}  // namespace microvm::agent
