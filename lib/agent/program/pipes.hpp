// The pipes between the agent and one program.
#pragma once

#include <cstddef>

#include "agent/base/failed.hpp"
#include "agent/program/spawn.hpp"
#include "base/fd.hpp"

namespace microvm::agent {

struct Pipe {
  base::Fd read_end;
  base::Fd write_end;
};

[[nodiscard]] Outcome<Pipe> make_pipe();
[[nodiscard]] Outcome<base::Fd> open_null();
void set_nonblocking(int fd);
// Bytes that can be read from a pipe now.
[[nodiscard]] size_t bytes_waiting(int fd);

// The agent's ends of a program's streams; non-blocking. An invalid one is closed.
struct AgentEnds {
  base::Fd in;
  base::Fd out;
  base::Fd err;
};

// The program's ends; they only have to live until it was spawned.
struct ProgramEnds {
  base::Fd in;
  base::Fd out;
  base::Fd err;

  [[nodiscard]] Streams streams() const { return {in.get(), out.get(), err.get()}; }
};

struct StreamPipes {
  AgentEnds agent;
  ProgramEnds program;
};

// Without stdin, the program gets /dev/null.
[[nodiscard]] Outcome<StreamPipes> make_streams(bool with_stdin);

}  // namespace microvm::agent
