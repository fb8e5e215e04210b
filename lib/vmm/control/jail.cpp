#include "vmm/control/jail.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "sys/page_map_scan.hpp"
#include "sys/seccomp_filter.hpp"
#include "vmm/arch/arch.hpp"

namespace microvm::vmm::control {
namespace {

// Whatever the arguments. Each group says who needs it.
constexpr auto kAllowed = std::to_array<uint32_t>({
    // devices, logs, state and memory files; newfstatat is how glibc does fstat
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_pread64,
    SYS_pwrite64,
    SYS_preadv,
    SYS_pwritev,
    SYS_preadv2,
    SYS_pwritev2,
    SYS_lseek,
    SYS_fstat,
    SYS_newfstatat,
    SYS_ftruncate,
    SYS_fallocate,
    SYS_fdatasync,
    SYS_fsync,
    SYS_close,
    SYS_dup,
    // control connections, vsock streams, log readers
    SYS_recvmsg,
    SYS_sendmsg,
    SYS_recvfrom,
    SYS_sendto,
    SYS_accept4,
    SYS_shutdown,
    SYS_getsockopt,
    SYS_setsockopt,
    SYS_pipe2,
    SYS_eventfd2,
    // the guest's clock
    SYS_timerfd_create,
    SYS_timerfd_settime,
    // the loop
    SYS_io_uring_enter,
    SYS_epoll_ctl,
    SYS_epoll_wait,
    SYS_epoll_pwait,
    SYS_poll,
    SYS_ppoll,
    // the heap
    SYS_munmap,
    SYS_brk,
    SYS_mremap,
    SYS_madvise,
    // the first steps of a vCPU thread that has not run yet
    SYS_set_robust_list,
    SYS_rseq,
    // threads, time, identity, the end
    SYS_futex,
    SYS_rt_sigreturn,
    SYS_rt_sigprocmask,
    SYS_rt_sigaction,
    SYS_restart_syscall,
    SYS_sched_yield,
    SYS_clock_gettime,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_getrandom,
    SYS_getpid,
    SYS_gettid,
    SYS_geteuid,
    SYS_exit,
    SYS_exit_group,
});

sys::SeccompFilter build_filter() {
  sys::SeccompFilter filter(arch::kAuditArch);
  // ioctls first: KVM_RUN is the call that counts.
  constexpr uint32_t kTypeMask = 0xff00;
  filter.allow_if(SYS_ioctl, 1, kTypeMask, KVMIO << 8);
  filter.allow_if(SYS_ioctl, 1, ~0u, static_cast<uint32_t>(sys::kPageMapScan));
  filter.allow_if(SYS_ioctl, 1, ~0u, FIONREAD);  // vsock streams
  filter.allow_if(SYS_ioctl, 1, ~0u, TUNSETOFFLOAD);
  for (const uint32_t number : kAllowed) filter.allow(number);
  // Not the commands by which an fd sends signals, to any process of the same user.
  for (const uint32_t command : std::to_array<uint32_t>({F_DUPFD_CLOEXEC, F_GETFL, F_SETFL})) {
    filter.allow_if(SYS_fcntl, 1, ~0u, command);
  }
  filter.allow_if(SYS_socketpair, 0, ~0u, AF_UNIX);  // vsock streams
  filter.allow_if(SYS_mmap, 2, PROT_EXEC, 0);
  filter.allow_if(SYS_mprotect, 2, PROT_EXEC, 0);
  filter.allow_if(SYS_prctl, 0, ~0u, PR_SET_NAME);
  // Signals go to our own threads only.
  filter.allow_if(SYS_tgkill, 0, ~0u, static_cast<uint32_t>(::getpid()));
  return filter;
}

}  // namespace

Result<void> lock_down() {
  return build_filter().apply("a worker");
}

}  // namespace microvm::vmm::control
