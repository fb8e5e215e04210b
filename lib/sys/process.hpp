// Starting and ending our own programs. The child is made as vfork() does, so its cost does not
// grow with the memory of the embedder, and no fd leaks into it.
#pragma once

#include <csignal>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "sys/wait.hpp"

namespace microvm::sys {

// A sealed memory file with the bytes of a program: nobody can change what spawn() runs. Where the
// host refuses such (vm.memfd_noexec=2), an unnamed file in `directory`, unless that is empty.
// Error permission_denied: neither.
Result<base::Fd> executable_from_bytes(const std::string& name, std::span<const std::byte> bytes,
                                       const std::string& directory = {});

struct SpawnOptions {
  std::vector<std::string> arguments;    // argv[0] first
  std::vector<std::string> environment;  // "NAME=value"; nothing is inherited
  std::vector<int> fds;                  // become 3, 4, …; borrowed
  int standard_output = -1;              // 1 and 2 of the child; -1: /dev/null. 0 is /dev/null
  int standard_error = -1;
  bool new_session = false;  // setsid(): a detached child gets no signal of our terminal
};

class Process {
 public:
  Process() = default;
  Process(pid_t pid, base::Fd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  // Any process there is: it can be killed and polled; wait() is for our children. Error: io,
  // permission_denied (a number of another user's).
  static Result<Process> open(pid_t pid);

  [[nodiscard]] pid_t pid() const { return pid_; }
  // Readable once the process has ended; for poll().
  [[nodiscard]] int pidfd() const { return pidfd_.get(); }
  [[nodiscard]] bool valid() const { return pidfd_.valid(); }

  // By pidfd, so never another process that got the same number. Fine when it has ended.
  Result<void> kill(int signal = SIGKILL) const;

  struct Exit {
    int code = 0;    // when signal is 0
    int signal = 0;  // that ended it
  };
  // Waits for the end and reaps. Errors: deadline_exceeded, cancelled, not_found (not our child,
  // reaped already).
  Result<Exit> wait(const WaitLimits& limits = {}) const;

 private:
  pid_t pid_ = -1;
  base::Fd pidfd_;
};

// The child starts in / with default signal handling. A failing execve is reported here.
Result<Process> spawn(int executable_fd, const SpawnOptions& options);

}  // namespace microvm::sys
