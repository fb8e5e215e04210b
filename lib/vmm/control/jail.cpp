#include "vmm/control/jail.hpp"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <vector>

#include "sys/page_map_scan.hpp"
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

uint32_t argument_offset(unsigned index) {
  return static_cast<uint32_t>(offsetof(seccomp_data, args) + index * sizeof(uint64_t));
}

// A program that is built from its tests: each falls through to the next one.
class Filter {
 public:
  Filter() {
    load(offsetof(seccomp_data, arch));
    add(BPF_JMP | BPF_JEQ | BPF_K, arch::kAuditArch, 1, 0);
    answer(SECCOMP_RET_KILL_PROCESS);
    load_number();
  }

  void allow(uint32_t number) {
    add(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1);
    answer(SECCOMP_RET_ALLOW);
  }
  // When the low half of the argument, with `mask`, is `value`.
  void allow_if(uint32_t number, unsigned argument, uint32_t mask, uint32_t value) {
    add(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 5);
    load(argument_offset(argument));
    add(BPF_ALU | BPF_AND | BPF_K, mask, 0, 0);
    add(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
    answer(SECCOMP_RET_ALLOW);
    load_number();
  }
  std::vector<sock_filter> finish() {
    answer(SECCOMP_RET_ERRNO | EPERM);
    return std::move(code_);
  }

 private:
  void add(unsigned code, uint32_t value, uint8_t if_true, uint8_t if_false) {
    code_.push_back({static_cast<uint16_t>(code), if_true, if_false, value});
  }
  void load(size_t offset) { add(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset), 0, 0); }
  void load_number() { load(offsetof(seccomp_data, nr)); }
  void answer(uint32_t action) { add(BPF_RET | BPF_K, action, 0, 0); }

  std::vector<sock_filter> code_;
};

std::vector<sock_filter> build_filter() {
  Filter filter;
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
  return filter.finish();
}

}  // namespace

Result<void> lock_down() {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return base::fail_errno("no_new_privs");
  std::vector<sock_filter> code = build_filter();
  const sock_fprog program{static_cast<uint16_t>(code.size()), code.data()};
  // Linux before 5.16 takes speculation away from whoever has a filter (SSBD, STIBP): meant for
  // programs that run foreign code in their own address space. Ours is in a guest, which has a
  // SPEC_CTRL of its own and between whose switches KVM clears the predictors; the worker would
  // only become slow, and each exit with it.
  constexpr unsigned long kFlags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
  const long done = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, kFlags, &program);
  if (done == 0) return {};
  return base::fail(ErrorCode::unsupported,
                    "this kernel has no seccomp filters, a worker cannot be locked down");
}

}  // namespace microvm::vmm::control
