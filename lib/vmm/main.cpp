// microvm-vmm: one process, one microVM. Started by libmicrovm with its control socket as fd 3.
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string_view>

#include "sys/loop.hpp"
#include "sys/socket.hpp"
#include "vmm/control/worker.hpp"

namespace {

using namespace microvm;

constexpr int kNotStartedByUs = 2;
constexpr int kNoLoop = 3;

bool is_control_socket(int fd) {
  int type = 0;
  socklen_t size = sizeof type;
  return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

// The guest's streams alone may be as many as the usual soft limit, which is for who uses select().
void raise_fd_limit() {
  constexpr rlim_t kWanted = 4096;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::max(limit.rlim_cur, std::min(limit.rlim_max, kWanted));
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// None before Linux 5.3, or where the host refuses it: then only the control socket says that the
// owner is gone.
base::Fd open_owner() {
  return base::Fd(static_cast<int>(::syscall(SYS_pidfd_open, ::getppid(), 0)));
}

// Nothing of the embedder's comes with us: not its fds, not its privileges through exec. One heap
// for all threads keeps an idle worker small.
void settle_process() {
  ::close_range(wire::kWorkerControlFd + 1, ~0u, 0);
  ::fcntl(wire::kWorkerControlFd, F_SETFD, FD_CLOEXEC);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  // A reader that left and a file that may not grow are errors of the write, not the end of us.
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
  ::signal(SIGCHLD, SIG_IGN);  // the starter of microvm-net: nobody waits for it
  ::mallopt(M_ARENA_MAX, 1);
  raise_fd_limit();
  pthread_setname_np(pthread_self(), "microvm-vmm");
}

}  // namespace

// --plain-io: epoll and pread/pwrite also where io_uring is allowed; for tests and for comparing.
int main(int argc, char** argv) {
  if (!is_control_socket(wire::kWorkerControlFd)) {
    std::fputs("microvm-vmm: fd 3 is not a control socket; libmicrovm starts this program\n",
               stderr);
    return kNotStartedByUs;
  }
  settle_process();
  const bool plain = argc > 1 && std::string_view(argv[1]) == "--plain-io";
  auto loop = sys::Loop::create(plain ? sys::Loop::Backend::plain : sys::Loop::Backend::automatic);
  if (!loop || !sys::set_nonblocking(wire::kWorkerControlFd)) {
    std::fputs("microvm-vmm: no event loop on this host\n", stderr);
    return kNoLoop;
  }
  vmm::control::Worker worker(**loop, base::Fd(wire::kWorkerControlFd), open_owner());
  worker.run();
  // Everybody was told and every file written: the kernel takes the rest down faster than we do.
  std::_Exit(0);
}
