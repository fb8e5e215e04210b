#include "agent/network/loopback.hpp"

#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "base/fd.hpp"

namespace microvm::agent {

namespace {

bool set_loopback_up() {
  const base::Fd any(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  return any && ioctl(any.get(), SIOCSIFFLAGS, &request) == 0;
}

}  // namespace

Outcome<void> bring_up_loopback() {
  if (!set_loopback_up()) return fail_errno("loopback up");
  return {};
}

bool enter_empty_network() {
  return unshare(CLONE_NEWNET) == 0 && set_loopback_up();
}

}  // namespace microvm::agent
