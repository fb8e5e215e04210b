// What microvm-net is refused once it is locked down. Each attempt is also made in a child without
// the jail, where it must end in another way: otherwise its refusal would say nothing of the jail.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "net/control/jail.hpp"

using namespace microvm;

namespace {

constexpr int kNotLocked = 255;

using Attempt = std::function<int()>;

// What a child's attempt ended with: 0 or an errno.
int error_in_child(bool locked, const Attempt& attempt) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::alarm(20);
    if (locked && !net::lock_down()) ::_exit(kNotLocked);
    ::_exit(attempt());
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  REQUIRE(WEXITSTATUS(status) != kNotLocked);
  return WEXITSTATUS(status);
}

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

struct Tried {
  const char* what;
  Attempt attempt;
};

const std::vector<Tried>& refused() {
  static const std::vector<Tried> kAll{
      {"open a file", [] { return call(SYS_openat, AT_FDCWD, "/etc/hostname", O_RDONLY, 0); }},
#ifdef SYS_open
      {"open a file, the old way", [] { return call(SYS_open, "/etc/hostname", O_RDONLY, 0); }},
#endif
      {"open the tap again", [] { return call(SYS_openat, AT_FDCWD, "/dev/net/tun", O_RDWR, 0); }},
      {"look at a file", [] { return call(SYS_faccessat, AT_FDCWD, "/etc/hostname", F_OK, 0); }},
      {"remove a file", [] { return call(SYS_unlinkat, AT_FDCWD, "/nonexistent/file", 0); }},
      {"make a memory file", [] { return call(SYS_memfd_create, "file", 0); }},
      {"run a program", [] { return call(SYS_execve, "/nonexistent/program", nullptr, nullptr); }},
      {"make a process",
       [] { return call_making_process(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, 0L); }},
      {"enter a namespace", [] { return call(SYS_setns, -1, CLONE_NEWNET); }},
      {"make a user namespace", [] { return call(SYS_unshare, CLONE_NEWUSER); }},
      {"make a socket of Unix", [] { return call(SYS_socket, AF_UNIX, SOCK_STREAM, 0); }},
      {"make a socket of netlink", [] { return call(SYS_socket, AF_NETLINK, SOCK_RAW, 0); }},
      {"make a socket for frames", [] { return call(SYS_socket, AF_PACKET, SOCK_DGRAM, 0); }},
      {"make a pair of sockets",
       [] {
         std::array<int, 2> ends{};
         return call(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, ends.data());
       }},
      {"any ioctl", [] { return call(SYS_ioctl, 0, FIONREAD, nullptr) == EPERM ? EPERM : 0; }},
      {"take signals of an fd", [] { return call(SYS_fcntl, 0, F_SETOWN, ::getpid()); }},
      {"make memory executable",
       [] {
         return ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                        MAP_FAILED
                    ? errno
                    : 0;
       }},
      {"signal another process", [] { return call(SYS_kill, ::getppid(), 0); }},
      {"trace a process", [] { return call(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0); }},
      {"make a ring", [] { return call(SYS_io_uring_setup, 1, nullptr); }},
      {"make an epoll", [] { return call(SYS_epoll_create1, 0); }},
      {"change a process", [] { return call(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0); }},
      {"get capabilities back", [] { return call(SYS_capset, nullptr, nullptr); }},
  };
  return kAll;
}

int result(long made) {
  return made < 0 ? errno : 0;
}

const std::vector<Tried>& allowed() {
  static const std::vector<Tried> kAll{
      {"sockets of the internet",
       [] {
         const base::Fd v4(::socket(AF_INET, SOCK_STREAM, 0));
         const base::Fd udp(::socket(AF_INET, SOCK_DGRAM, 0));
         return v4 && udp ? 0 : errno;
       }},
      {"pipes, and their size",
       [] {
         std::array<int, 2> ends{};
         if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno;
         return result(::fcntl(ends[1], F_SETPIPE_SZ, 4096));
       }},
      {"memory", [] { return std::vector<char>(size_t{4} << 20, 'x').back() == 'x' ? 0 : 1; }},
      {"time",
       [] {
         timespec now{};
         return result(::syscall(SYS_clock_gettime, CLOCK_REALTIME, &now));
       }},
      {"randomness",
       [] {
         char byte = 0;
         return result(::syscall(SYS_getrandom, &byte, 1, 0));
       }},
  };
  return kAll;
}

}  // namespace

TEST_CASE("microvm-net's jail refuses what is on no list") {
  for (const Tried& each : refused()) {
    INFO(std::string(each.what));
    CHECK(error_in_child(false, each.attempt) != EPERM);
    CHECK(error_in_child(true, each.attempt) == EPERM);
  }
}

TEST_CASE("microvm-net's jail lets through what flows need") {
  for (const Tried& each : allowed()) {
    INFO(std::string(each.what));
    CHECK(error_in_child(true, each.attempt) == 0);
  }
}

TEST_CASE("microvm-net's jail is around all threads, and hides the process") {
  const auto in_thread = [] {
    int error = 0;
    int go = ::eventfd(0, EFD_CLOEXEC);
    int begun = ::eventfd(0, EFD_CLOEXEC);
    std::thread other([&] {
      uint64_t count = 1;
      if (::write(begun, &count, sizeof count) != sizeof count) return;
      if (::read(go, &count, sizeof count) == sizeof count) {
        error = call(SYS_openat, AT_FDCWD, "/etc/hostname", O_RDONLY, 0);
      }
    });
    // A thread's own first steps are none of the jail's business: microvm-net's has begun by then.
    uint64_t one = 0;
    if (::read(begun, &one, sizeof one) != sizeof one || !net::lock_down()) ::_exit(kNotLocked);
    if (::write(go, &one, sizeof one) != sizeof one) return 1;
    other.join();
    return error;
  };
  CHECK(error_in_child(false, in_thread) == EPERM);
  CHECK(error_in_child(false, [] {
          const int before = ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
          return before == 1 ? 0 : 1;
        }) == 0);
}
