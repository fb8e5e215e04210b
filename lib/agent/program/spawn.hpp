// Starts a program as its own session, in the cgroup of user programs, with nothing of the agent's.
#pragma once

#include <sys/types.h>

#include "agent/base/failed.hpp"
#include "agent/program/program.hpp"
#include "base/fd.hpp"

namespace microvm::agent {

// What becomes the program's 0, 1 and 2; each is above 2 and stays the caller's.
struct Streams {
  int in = -1;
  int out = -1;
  int err = -1;
  bool terminal = false;  // they are one, and it becomes the program's controlling terminal
};

// A child of the thread that spawned it, and only that thread reaps it (see reaper.hpp). Until then
// its pid, and with it the process group of the same number, is not given to anybody else.
struct Child {
  pid_t pid = 0;
  base::Fd pidfd;  // readable when it has ended

  void kill_group(int signal) const;
};

struct ExitStatus {
  int code = 0;
  int signal = 0;
};

struct SpawnFailure {
  int code = 0;  // 127: no such program, 126: anything else
  std::string message;
};

// Returns when the program runs, or could not be started. `cgroup` is a directory, -1 for none.
[[nodiscard]] tl::expected<Child, SpawnFailure> spawn(const Program& program, int root, int cgroup,
                                                      const Streams& streams);

// Waits for its end, on the thread that spawned it.
[[nodiscard]] ExitStatus reap(const Child& child);

}  // namespace microvm::agent
