// A process that was started without standard streams.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <initializer_list>

namespace microvm::test {

// Nothing of this process stands as 0, 1 or 2.
inline bool low_fds_are_free() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) >= 0) return false;
  }
  return true;
}

// A child of this process runs `steps`, which tell whether all was right, with 0, 1 and 2 closed.
template <class Steps>
bool holds_without_streams(Steps steps) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::close(fd);
    ::_exit(steps() ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return status == 0;
}

}  // namespace microvm::test
