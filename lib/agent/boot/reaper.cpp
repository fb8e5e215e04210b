#include "agent/boot/reaper.hpp"

#include <sys/wait.h>

#include <csignal>

namespace microvm::agent {
namespace {

sigset_t child_signal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  return set;
}

}  // namespace

void block_child_signal() {
  const sigset_t set = child_signal();
  sigprocmask(SIG_BLOCK, &set, nullptr);
}

void reap_orphans() {
  const sigset_t set = child_signal();
  for (;;) {
    while (waitpid(-1, nullptr, WNOHANG | __WNOTHREAD) > 0) {
    }
    sigwaitinfo(&set, nullptr);
  }
}

}  // namespace microvm::agent
