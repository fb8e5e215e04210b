#include "agent/boot/boot.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "agent/base/file.hpp"
#include "agent/base/kernel_log.hpp"
#include "agent/boot/cgroups.hpp"
#include "agent/boot/modprobe.hpp"
#include "agent/boot/modules.hpp"
#include "agent/boot/modules_disk.hpp"
#include "agent/boot/mounts.hpp"
#include "agent/boot/root_disk.hpp"
#include "agent/network/loopback.hpp"

namespace microvm::agent {
namespace {

// As wide as docker's, with a soft limit that programs which close every descriptor can live with.
constexpr rlimit kOpenFiles{.rlim_cur = 65'536, .rlim_max = 1'048'576};
// What the machine has is the bound: container engines count on none of their own.
constexpr rlimit kUnbounded{.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};

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
  setrlimit(RLIMIT_NPROC, &kUnbounded);
  setrlimit(RLIMIT_MEMLOCK, &kUnbounded);
  mallopt(M_ARENA_MAX, 1);  // one heap for all threads
  if (auto set = write_file("/proc/self/oom_score_adj", "-1000"); !set)
    log_error(set.error().message);
}

// What docker sets for its containers: images count on it.
void set_network_defaults() {
  static_cast<void>(write_file("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"));
  static_cast<void>(write_file("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"));
}

// A guest without them is what it was; what needs one says so then.
void offer_modules() {
  if (auto mounted = mount_modules_disk(); !mounted) log_error(mounted.error().message);
  if (auto asks_us = answer_module_requests(); !asks_us) log_error(asks_us.error().message);
}

}  // namespace

Outcome<base::Fd> boot() {
  if (auto mounted = mount_early(); !mounted) return fail(mounted.error());
  if (auto opened = open_standard_streams(); !opened) return fail(opened.error());
  open_kernel_log();
  set_process_limits();
  load_modules("/modules");
  if (auto entered = enter_root_disk(); !entered) return fail(entered.error());
  if (auto completed = mount_late(); !completed) return fail(completed.error());
  if (auto up = bring_up_loopback(); !up) log_error(up.error().message);
  set_network_defaults();
  offer_modules();
  auto cgroup = set_up_cgroups();
  if (auto shared = share_mounts(); !shared) log_error(shared.error().message);
  return cgroup;
}

}  // namespace microvm::agent
