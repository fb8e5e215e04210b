#include "host/network/user_network.hpp"

#include <fcntl.h>
#include <linux/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fd.hpp"

namespace microvm::host {
namespace {

constexpr int kNoCapabilities = 1;

// The child of a threaded program: system calls and nothing else. How it ends is what was found; 0:
// all went well.
[[noreturn]] void try_in_child() {
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) ::_exit(errno == 0 ? EPERM : errno);
  const int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq loopback{};
  loopback.ifr_name[0] = 'l';
  loopback.ifr_name[1] = 'o';
  loopback.ifr_flags = IFF_UP;
  const bool may = socket >= 0 && ::ioctl(socket, SIOCSIFFLAGS, &loopback) == 0;
  ::_exit(may ? 0 : 128 + kNoCapabilities);
}

// Its end raises no signal: the embedder's handlers do not learn of it.
int end_of_trial() {
  const auto child = static_cast<pid_t>(::syscall(SYS_clone, 0, nullptr, nullptr, nullptr, 0));
  if (child < 0) return errno;
  if (child == 0) try_in_child();
  int status = 0;
  while (::waitpid(child, &status, __WALL) < 0) {
    if (errno != EINTR) return errno;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
}

std::string text_of(int error) {
  const char* text = ::strerrordesc_np(error);
  return text != nullptr ? text : std::to_string(error);
}

}  // namespace

UserNetworkTrial try_user_network() {
  UserNetworkTrial trial;
  const int end = end_of_trial();
  if (end == 128 + kNoCapabilities) {
    trial.capabilities = EPERM;
  } else {
    trial.namespaces = end;
  }
  const base::Fd tun(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  if (!tun) trial.tun = errno;
  return trial;
}

UserNetworkProblem namespace_problem(const UserNetworkTrial& trial, const std::string& program) {
  if (trial.capabilities != 0) {
    return {
        "a user's namespaces have no capabilities (AppArmor)",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0; or let this program, and what it "
        "starts, have them: write \"abi <abi/4.0>, include <tunables/global> profile microvm " +
            program +
            " flags=(unconfined) { userns, }\" to /etc/apparmor.d/microvm, and apparmor_parser "
            "-r /etc/apparmor.d/microvm"};
  }
  if (trial.namespaces == 0) return {};
  const std::string is = "a user can make no namespaces: " + text_of(trial.namespaces);
  if (trial.namespaces == ENOSPC || trial.namespaces == EUSERS) {
    return {is, "sysctl user.max_user_namespaces=10000, and user.max_net_namespaces likewise"};
  }
  return {is,
          "sysctl kernel.unprivileged_userns_clone=1, where there is such a sysctl; in a "
          "container: a seccomp profile that lets unshare(CLONE_NEWUSER) through"};
}

UserNetworkProblem tun_problem(const UserNetworkTrial& trial) {
  if (trial.tun == 0) return {};
  const std::string is = "/dev/net/tun: " + text_of(trial.tun);
  if (trial.tun == ENOENT || trial.tun == ENODEV || trial.tun == ENXIO) {
    return {is,
            "load the module (modprobe tun); in a container give it the device (--device "
            "/dev/net/tun)"};
  }
  return {is, "let this user read and write it (chmod 666 is usual)"};
}

Result<void> check_user_network(const UserNetworkTrial& trial) {
  UserNetworkProblem problem = namespace_problem(trial, "/path/of/this/program");
  if (problem.is.empty()) problem = tun_problem(trial);
  if (problem.is.empty()) return {};
  return base::fail(ErrorCode::unsupported, "network user: " + problem.is + ": " + problem.advice +
                                                ", or run it with none");
}

}  // namespace microvm::host
