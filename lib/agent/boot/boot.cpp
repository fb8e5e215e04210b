#include "agent/boot/boot.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "agent/base/file.hpp"
#include "agent/base/kernel_log.hpp"
#include "agent/boot/modules.hpp"
#include "agent/boot/mounts.hpp"
#include "agent/boot/root_disk.hpp"
#include "agent/network/loopback.hpp"

namespace microvm::agent {
namespace {

// As wide as docker's, with a soft limit that programs which close every descriptor can live with.
constexpr rlimit kOpenFiles{.rlim_cur = 65'536, .rlim_max = 1'048'576};

// Whatever the kernel gave us as 0, 1 and 2, or did not.
Outcome<void> open_standard_streams() {
  const int null = open("/dev/null", O_RDWR);
  if (null < 0) return fail_errno("/dev/null");
  for (int fd = 0; fd <= 2; fd++) {
    if (fd != null && dup2(null, fd) < 0) return fail_errno("/dev/null");
  }
  if (null > 2) close(null);
  return {};
}

void set_process_limits() {
  umask(022);
  signal(SIGPIPE, SIG_IGN);
  setrlimit(RLIMIT_NOFILE, &kOpenFiles);
  mallopt(M_ARENA_MAX, 1);  // one heap for all threads
  if (auto set = write_file("/proc/self/oom_score_adj", "-1000"); !set)
    log_error(set.error().message);
}

// What docker sets for its containers: images count on it.
void set_network_defaults() {
  static_cast<void>(write_file("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"));
  static_cast<void>(write_file("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"));
}

}  // namespace

Outcome<void> boot() {
  if (auto mounted = mount_early(); !mounted) return mounted;
  if (auto opened = open_standard_streams(); !opened) return opened;
  open_kernel_log();
  set_process_limits();
  load_modules("/modules");
  if (auto entered = enter_root_disk(); !entered) return entered;
  if (auto completed = mount_late(); !completed) return completed;
  if (auto up = bring_up_loopback(); !up) log_error(up.error().message);
  set_network_defaults();
  return {};
}

}  // namespace microvm::agent
