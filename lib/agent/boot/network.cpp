#include "agent/boot/network.hpp"

#include <fcntl.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "agent/base/file.hpp"
#include "agent/base/kernel_log.hpp"

namespace microvm::agent {
namespace {

constexpr size_t kMaxHostsBytes = 1024 * 1024;
constexpr const char* kLoopbackNames =
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

}  // namespace

Outcome<void> bring_up_loopback() {
  const base::Fd any(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (!any || ioctl(any.get(), SIOCSIFFLAGS, &request) != 0) return fail_errno("loopback up");
  return {};
}

void complete_hosts_file() {
  const auto hosts = read_file(AT_FDCWD, "/etc/hosts", kMaxHostsBytes);
  if (!hosts && hosts.error().error != ENOENT) return;  // something the image wants so
  if (hosts && hosts->find("localhost") != std::string::npos) return;
  const std::string content = kLoopbackNames + hosts.value_or("");
  const auto replaced = replace_file(AT_FDCWD, "/etc", "hosts", content, 0644);
  if (!replaced && replaced.error().error != ENOENT) log_error(replaced.error().message);
}

}  // namespace microvm::agent
