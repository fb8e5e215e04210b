// What a locked down process is refused. Each attempt is also made in a child without the jail,
// where it must end in another way: otherwise its refusal would say nothing of the jail.
#include "vmm/control/jail.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/openat2.h>
#include <linux/userfaultfd.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "sys/page_map_scan.hpp"
#include "sys/socket.hpp"
#include "vmm/memory_file.hpp"

using namespace microvm;
using namespace microvm::test;

namespace {

constexpr unsigned kChildLimitS = 20;
constexpr int kNotLocked = 255;

enum class Jail { no, yes };

// The wait status of a child that does this, locked down first or not: the filter is for good.
template <class Body>
int status_of_child(Jail jail, Body body) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::alarm(kChildLimitS);
    if (jail == Jail::yes && !vmm::control::lock_down()) ::_exit(kNotLocked);
    ::_exit(body());
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return status;
}

// What a child's attempt ended with: 0 or an errno.
using Attempt = std::function<int()>;
int error_in_child(Jail jail, const Attempt& attempt) {
  const int status = status_of_child(jail, attempt);
  REQUIRE(WIFEXITED(status));
  REQUIRE(WEXITSTATUS(status) != kNotLocked);
  return WEXITSTATUS(status);
}

bool holds_in_jail(const std::function<bool()>& condition) {
  return error_in_child(Jail::yes, [&] { return condition() ? 0 : 1; }) == 0;
}

// The call itself, not what the C library makes of it. In a process that a call has made: the end.
template <class... Arguments>
int call(long number, Arguments... arguments) {
  return ::syscall(number, arguments...) < 0 ? errno : 0;
}
template <class... Arguments>
int call_making_process(long number, Arguments... arguments) {
  const long made = ::syscall(number, arguments...);
  if (made == 0) ::_exit(0);
  return made < 0 ? errno : 0;
}

struct Refused {
  const char* what;
  Attempt attempt;
};

void check_refused(const std::vector<Refused>& all) {
  for (const Refused& each : all) {
    INFO(std::string(each.what));
    CHECK(error_in_child(Jail::no, each.attempt) != EPERM);
    CHECK(error_in_child(Jail::yes, each.attempt) == EPERM);
  }
}

sockaddr_un nowhere() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string("/nonexistent/socket").copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

base::Fd unix_socket() {
  return base::Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

void* page() {
  static void* const kPage =
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return kPage;
}

// Whatever their arguments: the whole list of doors. Who adds one says here that it is meant.
constexpr auto kDoors = std::to_array<long>({
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
    SYS_timerfd_create,
    SYS_timerfd_settime,
    SYS_epoll_ctl,
    SYS_io_uring_enter,
    SYS_epoll_wait,
    SYS_epoll_pwait,
    SYS_poll,
    SYS_ppoll,
    SYS_munmap,
    SYS_brk,
    SYS_mremap,
    SYS_madvise,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_futex,
    SYS_rt_sigprocmask,
    SYS_rt_sigaction,
    SYS_sched_yield,
    SYS_getrandom,
    SYS_restart_syscall,
    SYS_clock_gettime,
    SYS_nanosleep,
    SYS_getpid,
    SYS_clock_nanosleep,
    SYS_gettid,
    SYS_geteuid,
});
// The same, but a child could not go on after them.
constexpr auto kEnds = std::to_array<long>({SYS_rt_sigreturn, SYS_exit, SYS_exit_group});
// uretprobe and uprobe: the kernel asks no filter, and ends who is not at a probe of its own.
constexpr auto kUnfiltered = std::to_array<long>({335, 336});
// Beyond the newest system call; then those of the x32 interface.
constexpr long kNumbers = 600;
constexpr long kX32 = 0x4000'0000;

bool is_in(const auto& list, long number) {
  return std::ranges::find(list, number) != list.end();
}

// With arguments that are nobody's, so that one that is let through does no harm.
int attempt_with_nothing(long number) {
  return call(number, -1L, -1L, -1L, -1L, -1L, -1L);
}

// The first of these numbers whose attempt does not end as it should, or 0, from a locked down
// child.
template <class Skip, class Right>
long first_wrong(long begin, long end, Skip skip, Right right) {
  const base::Fd result = file_with({});
  const int status = status_of_child(Jail::yes, [&] {
    for (long number = begin; number < end; ++number) {
      if (skip(number) || right(attempt_with_nothing(number))) continue;
      [[maybe_unused]] const auto put = ::pwrite(result.get(), &number, sizeof number, 0);
      return 1;
    }
    return 0;
  });
  REQUIRE(WIFEXITED(status));
  REQUIRE(WEXITSTATUS(status) != kNotLocked);
  long number = 0;
  if (WEXITSTATUS(status) != 0) REQUIRE(::pread(result.get(), &number, sizeof number, 0) > 0);
  return number;
}

}  // namespace

TEST_CASE("jail: no file is opened or made, by any call") {
  const std::string made = "/tmp/microvm-jail-test-" + std::to_string(::getpid());
  const open_how how{.flags = O_RDONLY, .mode = 0, .resolve = 0};
  check_refused({
      {"open", [] { return call(SYS_open, "/dev/null", O_RDONLY); }},
      {"openat", [] { return call(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY); }},
      {"openat2", [&] { return call(SYS_openat2, AT_FDCWD, "/dev/null", &how, sizeof how); }},
      {"creat", [&] { return call(SYS_creat, made.c_str(), 0600); }},
      {"memfd_create", [] { return call(SYS_memfd_create, "file", 0); }},
      {"open_by_handle_at", [] { return call(SYS_open_by_handle_at, -1, nullptr, 0); }},
      {"mkdir", [] { return call(SYS_mkdir, "/nonexistent/new", 0700); }},
      {"unlink", [] { return call(SYS_unlink, "/nonexistent/file"); }},
      {"rename", [] { return call(SYS_rename, "/nonexistent/a", "/nonexistent/b"); }},
      {"link", [] { return call(SYS_link, "/nonexistent/a", "/nonexistent/b"); }},
      {"symlink", [] { return call(SYS_symlink, "/a", "/nonexistent/b"); }},
      {"truncate", [] { return call(SYS_truncate, "/nonexistent/file", 0); }},
      {"chmod", [] { return call(SYS_chmod, "/nonexistent/file", 0600); }},
      {"mount", [] { return call(SYS_mount, "none", "/nonexistent", "tmpfs", 0, nullptr); }},
      {"chroot", [] { return call(SYS_chroot, "/nonexistent"); }},
  });
  ::unlink(made.c_str());
}

TEST_CASE("jail: no socket to anywhere") {
  const base::Fd socket = unix_socket();
  const sockaddr_un address = nowhere();
  int ends[2];
  check_refused({
      {"socket, inet", [] { return call(SYS_socket, AF_INET, SOCK_STREAM, 0); }},
      {"socket, unix", [] { return call(SYS_socket, AF_UNIX, SOCK_STREAM, 0); }},
      {"socket, netlink", [] { return call(SYS_socket, AF_NETLINK, SOCK_RAW, 0); }},
      {"connect", [&] { return call(SYS_connect, socket.get(), &address, sizeof address); }},
      {"bind", [&] { return call(SYS_bind, socket.get(), &address, sizeof address); }},
      {"listen", [&] { return call(SYS_listen, socket.get(), 1); }},
      {"socketpair, tipc", [&] { return call(SYS_socketpair, AF_TIPC, SOCK_SEQPACKET, 0, ends); }},
      {"socketpair, inet", [&] { return call(SYS_socketpair, AF_INET, SOCK_STREAM, 0, ends); }},
  });
  CHECK(holds_in_jail([] { return sys::stream_pair().has_value(); }));
}

TEST_CASE("jail: no program is run, no process or thread made") {
  char* none[] = {nullptr};
  const base::Fd program = file_with({});
  check_refused({
      {"execve", [&] { return call(SYS_execve, "/nonexistent/program", none, none); }},
      {"execveat",
       [&] { return call(SYS_execveat, AT_FDCWD, "/nonexistent/program", none, none, 0); }},
      {"execveat, memory file",
       [&] { return call(SYS_execveat, program.get(), "", none, none, AT_EMPTY_PATH); }},
      {"fork", [] { return call_making_process(SYS_fork); }},
      {"clone", [] { return call_making_process(SYS_clone, SIGCHLD, 0, 0, 0, 0); }},
      {"clone, thread",
       [] { return call(SYS_clone, CLONE_THREAD, 0, 0, 0, 0); }},  // without CLONE_SIGHAND: EINVAL
      {"clone3", [] { return call(SYS_clone3, nullptr, 0); }},
      {"unshare", [] { return call(SYS_unshare, 0); }},
      {"setns", [] { return call(SYS_setns, -1, 0); }},
  });
}

TEST_CASE("jail: no signal to another process, nor a hand in it") {
  const pid_t other = ::getppid();
  const base::Fd socket = unix_socket();
  check_refused({
      {"kill", [&] { return call(SYS_kill, other, 0); }},
      {"kill, itself", [] { return call(SYS_kill, ::getpid(), 0); }},
      {"tkill", [&] { return call(SYS_tkill, other, 0); }},
      {"tgkill", [&] { return call(SYS_tgkill, other, other, 0); }},
      {"rt_sigqueueinfo", [&] { return call(SYS_rt_sigqueueinfo, other, 0, nullptr); }},
      {"rt_tgsigqueueinfo", [&] { return call(SYS_rt_tgsigqueueinfo, other, other, 0, nullptr); }},
      {"pidfd_open", [&] { return call(SYS_pidfd_open, other, 0); }},
      {"pidfd_send_signal", [] { return call(SYS_pidfd_send_signal, -1, 0, nullptr, 0); }},
      {"pidfd_getfd", [] { return call(SYS_pidfd_getfd, -1, 0, 0); }},
      {"ptrace", [] { return call(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0); }},
      {"process_vm_readv",
       [] { return call(SYS_process_vm_readv, ::getpid(), nullptr, 0, nullptr, 0, 0); }},
      {"process_vm_writev",
       [] { return call(SYS_process_vm_writev, ::getpid(), nullptr, 0, nullptr, 0, 0); }},
      {"fcntl F_SETOWN", [&] { return call(SYS_fcntl, socket.get(), F_SETOWN, ::getpid()); }},
      {"fcntl F_SETOWN_EX", [&] { return call(SYS_fcntl, socket.get(), F_SETOWN_EX, nullptr); }},
      {"fcntl F_SETSIG", [&] { return call(SYS_fcntl, socket.get(), F_SETSIG, SIGKILL); }},
      {"fcntl F_NOTIFY", [&] { return call(SYS_fcntl, socket.get(), F_NOTIFY, 0); }},
      {"ioctl FIOSETOWN",
       [&] {
         const int self = ::getpid();
         return call(SYS_ioctl, socket.get(), FIOSETOWN, &self);
       }},
      {"ioctl FIOASYNC",
       [&] {
         const int off = 0;
         return call(SYS_ioctl, socket.get(), FIOASYNC, &off);
       }},
  });
  CHECK(holds_in_jail([] { return call(SYS_tgkill, ::getpid(), ::gettid(), 0) == 0; }));
  CHECK(holds_in_jail([&] { return sys::set_nonblocking(socket.get()).has_value(); }));
  CHECK(holds_in_jail([&] { return ::fcntl(socket.get(), F_DUPFD_CLOEXEC, 0) >= 0; }));
}

TEST_CASE("jail: no memory becomes executable") {
  page();  // before the children are made
  const auto map = [](int protection, int flags, int fd) {
    return call(SYS_mmap, nullptr, 4096, protection, flags, fd, 0);
  };
  const base::Fd file = file_with({});
  check_refused({
      {"mmap, executable", [&] { return map(PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1); }},
      {"mmap, all",
       [&] { return map(PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1); }},
      {"mmap, of a file", [&] { return map(PROT_READ | PROT_EXEC, MAP_PRIVATE, file.get()); }},
      {"mprotect", [] { return call(SYS_mprotect, page(), 4096, PROT_READ | PROT_EXEC); }},
      {"mprotect, only executable", [] { return call(SYS_mprotect, page(), 4096, PROT_EXEC); }},
      {"pkey_mprotect",
       [] { return call(SYS_pkey_mprotect, page(), 4096, PROT_READ | PROT_EXEC, -1); }},
      {"personality, which makes readable executable",
       [] { return call(SYS_personality, READ_IMPLIES_EXEC); }},
      {"shmat", [] { return call(SYS_shmat, -1, nullptr, SHM_EXEC); }},
  });
  const auto allowed = [&](int protection) {
    return map(protection, MAP_PRIVATE | MAP_ANONYMOUS, -1) == 0 &&
           call(SYS_mprotect, page(), 4096, protection) == 0;
  };
  CHECK(holds_in_jail([&] { return allowed(PROT_READ | PROT_WRITE); }));
  CHECK(holds_in_jail([&] { return allowed(PROT_NONE); }));
}

TEST_CASE("jail: no ring, filter or privilege of its own making") {
  check_refused({
      {"io_uring_setup", [] { return call(SYS_io_uring_setup, 1, nullptr); }},
      {"io_uring_register", [] { return call(SYS_io_uring_register, -1, 0, nullptr, 0); }},
      {"userfaultfd", [] { return call(SYS_userfaultfd, UFFD_USER_MODE_ONLY); }},
      {"seccomp", [] { return call(SYS_seccomp, ~0u, 0, nullptr); }},
      {"prctl PR_SET_DUMPABLE", [] { return call(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0); }},
      {"prctl PR_SET_PDEATHSIG", [] { return call(SYS_prctl, PR_SET_PDEATHSIG, 0, 0, 0, 0); }},
      {"prlimit64", [] { return call(SYS_prlimit64, 0, 0, nullptr, nullptr); }},
      {"setuid", [] { return call(SYS_setuid, ::getuid()); }},
      {"setgid", [] { return call(SYS_setgid, ::getgid()); }},
  });
  CHECK(holds_in_jail([] { return ::prctl(PR_SET_NAME, "jailed", 0, 0, 0) == 0; }));
}

TEST_CASE("jail: of a tap's ioctls there is the setting of its offloads alone") {
  const base::Fd file = file_with({});
  ifreq interface{};
  const auto set = [&](unsigned long request) {
    return [&, request] { return call(SYS_ioctl, file.get(), request, &interface); };
  };
  check_refused({{"TUNSETIFF", set(TUNSETIFF)},
                 {"TUNSETVNETHDRSZ", set(TUNSETVNETHDRSZ)},
                 {"TUNATTACHFILTER", set(TUNATTACHFILTER)},
                 {"TUNSETQUEUE", set(TUNSETQUEUE)},
                 {"TUNGETDEVNETNS", set(TUNGETDEVNETNS)},
                 {"SIOCGIFFLAGS", set(SIOCGIFFLAGS)}});
  CHECK(holds_in_jail([&] { return call(SYS_ioctl, file.get(), TUNSETOFFLOAD, 0) != EPERM; }));
}

TEST_CASE("jail: of the file systems' ioctls there is the scan of the page map alone") {
  const base::Fd file = file_with({});
  int flags = 0;
  check_refused({
      {"FS_IOC_GETFLAGS", [&] { return call(SYS_ioctl, file.get(), FS_IOC_GETFLAGS, &flags); }},
      {"FS_IOC_SETFLAGS", [&] { return call(SYS_ioctl, file.get(), FS_IOC_SETFLAGS, &flags); }},
      {"FICLONE", [&] { return call(SYS_ioctl, file.get(), FICLONE, -1); }},
      {"TIOCSTI", [&] { return call(SYS_ioctl, file.get(), TIOCSTI, "x"); }},
  });
  // No page map, but the file itself says so.
  CHECK(holds_in_jail(
      [&] { return call(SYS_ioctl, file.get(), sys::kPageMapScan, nullptr) != EPERM; }));
}

TEST_CASE("jail: every number that is not on the list is refused") {
  const auto is_door = [](long number) {
    return is_in(kDoors, number) || is_in(kEnds, number) || is_in(kUnfiltered, number);
  };
  const auto is_refused = [](int error) { return error == EPERM; };
  CHECK(first_wrong(0, kNumbers, is_door, is_refused) == 0);
  const auto none = [](long) { return false; };
  CHECK(first_wrong(kX32, kX32 + kNumbers, none, is_refused) == 0);
}

TEST_CASE("jail: every number on the list is let through") {
  const auto is_no_door = [](long number) { return !is_in(kDoors, number); };
  CHECK(first_wrong(0, kNumbers, is_no_door, [](int error) { return error != EPERM; }) == 0);
  CHECK(status_of_child(Jail::yes, [] { return call(SYS_exit_group, 0); }) == 0);
}

// Numbers mean other calls there: 5 is open.
TEST_CASE("jail: a call by the 32-bit gate is the end") {
  const auto open_by_gate = [] {
    int result = 5;
    asm volatile("int $0x80" : "+a"(result) : "b"(0), "c"(0), "d"(0) : "memory");
    return result == -EFAULT ? 0 : 1;
  };
  const int outside = status_of_child(Jail::no, open_by_gate);
  if (!WIFEXITED(outside)) {
    MESSAGE("skipped: this host has no 32-bit gate");
    return;
  }
  CHECK(WEXITSTATUS(outside) == 0);
  const int inside = status_of_child(Jail::yes, open_by_gate);
  CHECK(WIFSIGNALED(inside));
  CHECK(WTERMSIG(inside) == SIGSYS);
}

TEST_CASE("jail: it is around threads that were there before, and no program regains rights") {
  CHECK(error_in_child(Jail::no, [] {
          std::atomic<bool> locked{false};
          std::atomic<int> error{0};
          std::thread before([&] {
            locked.wait(false);
            error = call(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY);
          });
          const bool done = vmm::control::lock_down().has_value();
          locked = true;
          locked.notify_one();
          before.join();
          return done ? error.load() : kNotLocked;
        }) == EPERM);

  int gate[2];
  REQUIRE(::pipe2(gate, O_CLOEXEC) == 0);
  const base::Fd told(gate[0]);
  base::Fd tell(gate[1]);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::alarm(kChildLimitS);
    if (!vmm::control::lock_down()) ::_exit(kNotLocked);
    [[maybe_unused]] const auto put = ::write(tell.get(), "x", 1);
    for (;;) ::poll(nullptr, 0, -1);
  }
  tell.reset();
  char byte = 0;
  CHECK(::read(told.get(), &byte, 1) == 1);
  std::ifstream file("/proc/" + std::to_string(child) + "/status");
  const std::string status(std::istreambuf_iterator<char>(file), {});
  CHECK(status.find("NoNewPrivs:\t1") != std::string::npos);
  CHECK(status.find("Seccomp:\t2") != std::string::npos);
  ::kill(child, SIGKILL);
  REQUIRE(::waitpid(child, nullptr, 0) == child);
}
