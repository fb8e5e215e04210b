// microvm-net: one process, the network of one microVM. Started by a worker's starter, with the net
// wire, the channel to the starter and the Vm's directory as fds 3 to 5.
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

#include "net/control/network.hpp"
#include "sys/loop.hpp"

namespace {

using namespace microvm;

constexpr int kNotStartedByUs = 2;
constexpr int kFailed = 3;

bool is_net_wire(int fd) {
  int type = 0;
  socklen_t size = sizeof type;
  return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

// Two for each flow, and a pipe for each direction while bytes are on their way.
void raise_fd_limit() {
  constexpr rlim_t kWanted = 6 * wire::kMaxOpenFlows + 256;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::max(limit.rlim_cur, std::min(limit.rlim_max, kWanted));
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

void settle_process() {
  ::close_range(wire::kNetHomeFd + 1, ~0u, 0);
  for (int fd = wire::kNetWorkerFd; fd <= wire::kNetHomeFd; ++fd) {
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  ::signal(SIGPIPE, SIG_IGN);
  ::mallopt(M_ARENA_MAX, 1);
  ::umask(077);  // the management socket is for us, and for root
  raise_fd_limit();
  pthread_setname_np(pthread_self(), "microvm-net");
}

struct Arguments {
  sys::Loop::Backend backend = sys::Loop::Backend::automatic;
  std::string resolv_conf = "/etc/resolv.conf";
};

// For tests and for comparing. --plain-io: epoll also where io_uring is allowed;
// --resolv-conf=PATH: another file, until the starter is asked for it.
Arguments parse(std::span<char*> words) {
  constexpr std::string_view kResolvConf = "--resolv-conf=";
  Arguments arguments;
  for (const std::string_view word : words) {
    if (word == "--plain-io") arguments.backend = sys::Loop::Backend::plain;
    if (word.starts_with(kResolvConf)) arguments.resolv_conf = word.substr(kResolvConf.size());
  }
  return arguments;
}

}  // namespace

int main(int argc, char** argv) {
  if (!is_net_wire(wire::kNetWorkerFd)) {
    std::fputs("microvm-net: fd 3 is not a net wire; libmicrovm starts this program\n", stderr);
    return kNotStartedByUs;
  }
  settle_process();
  const Arguments arguments = parse({argv, static_cast<size_t>(argc)});
  auto loop = sys::Loop::create(arguments.backend);
  if (!loop) return kFailed;
  net::Network network(**loop, {base::Fd(wire::kNetWorkerFd), base::Fd(wire::kNetStarterFd),
                                base::Fd(wire::kNetHomeFd), arguments.resolv_conf});
  if (!network.start()) std::_Exit(kFailed);
  (*loop)->run();
  // The kernel takes the rest down, and with the last socket the private network.
  std::_Exit(0);
}
