#include "net/control/jail.hpp"

#include <fcntl.h>
#include <linux/audit.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "net/space/user_namespace.hpp"
#include "sys/seccomp_filter.hpp"

namespace microvm::net {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kAuditArch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kAuditArch = AUDIT_ARCH_AARCH64;
#endif

// Whatever the arguments. Each group says who needs it.
constexpr auto kAllowed = std::to_array<uint32_t>({
    // flows
    SYS_connect,
    SYS_bind,
    SYS_listen,
    SYS_accept4,
    SYS_shutdown,
    SYS_getsockopt,
    SYS_setsockopt,
    SYS_splice,
    SYS_pipe2,
    // datagrams, the net wire, management, frames; the file of a changed policy
    SYS_recvmsg,
    SYS_sendmsg,
    SYS_recvfrom,
    SYS_sendto,
    SYS_read,
    SYS_write,
    SYS_close,
    // the loop
    SYS_io_uring_enter,
#ifdef SYS_epoll_wait
    SYS_epoll_wait,
#endif
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_ppoll,
    // the heap
    SYS_munmap,
    SYS_brk,
    SYS_mremap,
    SYS_madvise,
    // threads, time, the end
    SYS_futex,
    SYS_rt_sigreturn,
    SYS_rt_sigprocmask,
    SYS_restart_syscall,
    SYS_sched_yield,
    SYS_clock_gettime,
    SYS_getrandom,
    SYS_getpid,
    SYS_gettid,
    SYS_geteuid,
    SYS_exit,
    SYS_exit_group,
});

sys::SeccompFilter build_filter() {
  sys::SeccompFilter filter(kAuditArch);
  for (const uint32_t number : kAllowed) filter.allow(number);
  filter.allow_if(SYS_socket, 0, ~0u, AF_INET);
  filter.allow_if(SYS_socket, 0, ~0u, AF_INET6);
  // Not the commands by which an fd sends signals, to any process of the same user.
  for (const uint32_t command :
       std::to_array<uint32_t>({F_DUPFD_CLOEXEC, F_GETFL, F_SETFL, F_SETPIPE_SZ})) {
    filter.allow_if(SYS_fcntl, 1, ~0u, command);
  }
  filter.allow_if(SYS_mmap, 2, PROT_EXEC, 0);
  filter.allow_if(SYS_mprotect, 2, PROT_EXEC, 0);
  // abort() of a program that found itself broken.
  filter.allow_if(SYS_tgkill, 0, ~0u, static_cast<uint32_t>(::getpid()));
  return filter;
}

}  // namespace

Result<void> lock_down() {
  // Nobody of the same user looks into it, or takes its fds (ptrace, pidfd_getfd).
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return base::fail_errno("hide the process");
  if (auto ok = space::drop_capabilities(); !ok) return ok;
  return build_filter().apply("microvm-net");
}

}  // namespace microvm::net
