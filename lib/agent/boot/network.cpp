#include "agent/boot/network.hpp"

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "base/fd.hpp"

namespace microvm::agent {

Outcome<void> bring_up_loopback() {
  const base::Fd any(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (!any || ioctl(any.get(), SIOCSIFFLAGS, &request) != 0) return fail_errno("loopback up");
  return {};
}

}  // namespace microvm::agent
