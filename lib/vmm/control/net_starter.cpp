#include "vmm/control/net_starter.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "sys/socket.hpp"
#include "wire/net.hpp"

namespace microvm::vmm::control {
namespace {

// Of the starter itself.
constexpr int kWorkerFd = 3;
constexpr int kProgramFd = 4;
constexpr int kHomeSocketFd = 5;
constexpr int kFirstOther = 6;
constexpr int kHomeWaitMs = 1000;

enum class Step : uint32_t { home, channel, process, program };

struct Failure {
  Step step = Step::home;
  int32_t error = 0;
};

// ---- in the starter: nothing here allocates, for its heap is a copy that is never touched
// --------

struct OneFd {
  std::byte byte{};
  int fd = -1;
};

// One byte and perhaps an fd. False: the other side is gone, or said nonsense.
bool receive_one(int socket, OneFd& got, int flags) {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
  iovec body{&got.byte, 1};
  msghdr header{};
  header.msg_iov = &body;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = CMSG_LEN(sizeof(int));  // CMSG_SPACE has room for a second one
  const ssize_t count = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC | flags);
  if (count != 1) return false;
  const cmsghdr* part = CMSG_FIRSTHDR(&header);
  if (part != nullptr && part->cmsg_type == SCM_RIGHTS) {
    std::memcpy(&got.fd, CMSG_DATA(part), sizeof got.fd);
  }
  return true;
}

void send_one(int socket, std::byte byte, int fd) {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
  iovec body{&byte, 1};
  msghdr header{};
  header.msg_iov = &body;
  header.msg_iovlen = 1;
  if (fd >= 0) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* part = CMSG_FIRSTHDR(&header);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(part), &fd, sizeof fd);
  }
  ::sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

class Starter {
 public:
  [[noreturn]] void run() {
    for (;;) {
      std::array<pollfd, 2> waited{pollfd{kWorkerFd, POLLIN, 0}, pollfd{channel_, POLLIN, 0}};
      if (::poll(waited.data(), waited.size(), -1) < 0 && errno != EINTR) ::_exit(1);
      if (waited[1].revents != 0) serve_channel();
      if (waited[0].revents != 0) serve_worker();
    }
  }

 private:
  void serve_worker() {
    OneFd asked;
    const bool worker_is_there = receive_one(kWorkerFd, asked, 0);
    end_program();
    if (!worker_is_there) ::_exit(0);
    if (asked.fd < 0) return;
    if (!start(asked.fd)) end_program();
    ::close(asked.fd);
  }

  bool start(int net_wire) {
    if (!have_home()) return fail(Step::home);
    std::array<int, 2> channel{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel.data()) != 0) {
      return fail(Step::channel);
    }
    channel_ = channel[0];
    program_ = ::fork();
    if (program_ == 0) execute(net_wire, channel[1]);
    const bool forked = program_ > 0;
    const int error = errno;
    ::close(channel[1]);
    errno = error;
    return forked || fail(Step::process);
  }

  // Sources may stand where targets go, so first they move above them.
  [[noreturn]] void execute(int net_wire, int channel) {
    constexpr int kAbove = 64;
    const std::array<int, 3> sources{::fcntl(net_wire, F_DUPFD_CLOEXEC, kAbove),
                                     ::fcntl(channel, F_DUPFD_CLOEXEC, kAbove),
                                     ::fcntl(home_, F_DUPFD_CLOEXEC, kAbove)};
    const int program = ::fcntl(kProgramFd, F_DUPFD_CLOEXEC, kAbove);
    const int worker = ::fcntl(kWorkerFd, F_DUPFD_CLOEXEC, kAbove);
    static_assert(wire::kNetWorkerFd == 3 && wire::kNetStarterFd == 4 && wire::kNetHomeFd == 5);
    for (int i = 0; i < 3; ++i) ::dup2(sources[static_cast<size_t>(i)], wire::kNetWorkerFd + i);
    ::signal(SIGPIPE, SIG_DFL);
    ::signal(SIGXFSZ, SIG_DFL);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);  // it also ends with the net wire
    char name[] = "microvm-net";
    std::array<char*, 2> arguments{name, nullptr};
    std::array<char*, 1> environment{nullptr};
    ::syscall(SYS_execveat, program, "", arguments.data(), environment.data(), AT_EMPTY_PATH);
    tell(worker, {Step::program, errno});
    ::_exit(127);
  }

  bool have_home() {
    if (home_ >= 0) return true;
    pollfd waited{kHomeSocketFd, POLLIN, 0};
    errno = ETIMEDOUT;
    if (::poll(&waited, 1, kHomeWaitMs) <= 0) return false;
    OneFd got;
    errno = 0;
    static_cast<void>(receive_one(kHomeSocketFd, got, MSG_DONTWAIT));
    home_ = got.fd;
    return home_ >= 0;
  }

  // microvm-net wants a file, or is gone.
  void serve_channel() {
    OneFd asked;
    if (!receive_one(channel_, asked, MSG_DONTWAIT)) return end_program();
    if (asked.fd >= 0) ::close(asked.fd);
    const char* const path = asked.byte == std::byte(wire::StarterRequest::resolv_conf)
                                 ? "/etc/resolv.conf"
                             : asked.byte == std::byte(wire::StarterRequest::hosts) ? "/etc/hosts"
                                                                                    : nullptr;
    errno = EINVAL;
    const int file =
        path != nullptr ? ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) : -1;
    send_one(channel_, file >= 0 ? std::byte{0} : std::byte(errno), file);
    if (file >= 0) ::close(file);
  }

  // Until it is waited for, nobody else has its number.
  void end_program() {
    if (program_ > 0) {
      ::kill(program_, SIGKILL);
      while (::waitpid(program_, nullptr, 0) < 0 && errno == EINTR) {
      }
    }
    program_ = -1;
    if (channel_ >= 0) ::close(channel_);
    channel_ = -1;
  }

  static bool fail(Step step) {
    tell(kWorkerFd, {step, errno});
    return false;
  }
  static void tell(int worker, const Failure& failure) {
    ::send(worker, &failure, sizeof failure, MSG_NOSIGNAL | MSG_DONTWAIT);
  }

  int home_ = -1;
  int channel_ = -1;
  pid_t program_ = -1;
};

// The worker's other files, and what they lead to, end with the worker and not with us.
[[noreturn]] void become_starter(int worker, int program, int home_socket, pid_t parent) {
  constexpr int kAbove = 64;
  const std::array<int, 3> sources{::fcntl(worker, F_DUPFD_CLOEXEC, kAbove),
                                   ::fcntl(program, F_DUPFD_CLOEXEC, kAbove),
                                   ::fcntl(home_socket, F_DUPFD_CLOEXEC, kAbove)};
  for (int i = 0; i < 3; ++i) {
    if (::dup3(sources[static_cast<size_t>(i)], kWorkerFd + i, O_CLOEXEC) < 0) ::_exit(1);
  }
  ::syscall(SYS_close_range, kFirstOther, ~0U, 0);
  ::signal(SIGCHLD, SIG_DFL);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  ::prctl(PR_SET_NAME, "microvm-starter", 0, 0, 0);
  if (::getppid() != parent) ::_exit(0);
  Starter().run();
}

const char* said(Step step) {
  switch (step) {
    case Step::home:
      return "its directory did not come from the library";
    case Step::channel:
      return "make a socket";
    case Step::process:
      return "make a process";
    case Step::program:
      return "run the program";
  }
  return "";
}

}  // namespace

Result<base::Fd> fork_net_starter(base::Fd program, base::Fd home_socket) {
  auto pair = sys::seqpacket_pair();
  if (!pair) return base::fail(pair.error());
  if (auto ok = sys::set_nonblocking(pair->first.get()); !ok) return base::fail(ok.error());
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) become_starter(pair->second.get(), program.get(), home_socket.get(), parent);
  if (pid < 0) return base::fail_errno("fork the starter of microvm-net");
  return std::move(pair->first);
}

Result<void> ask_for_net(int starter, int net_wire_end) {
  const std::byte start{1};
  return sys::send_message(starter, std::span(&start, 1), std::span(&net_wire_end, 1));
}

std::string why_not_started(int starter) {
  std::string why;
  Failure failure;
  while (::recv(starter, &failure, sizeof failure, MSG_DONTWAIT) == sizeof failure) {
    why = said(failure.step);
    if (failure.error != 0) why += ": " + std::string(::strerror(failure.error));
  }
  return why;
}

}  // namespace microvm::vmm::control
