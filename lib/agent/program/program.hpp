// What the host asks to be run, read from the wire.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/link/channel.hpp"
#include "agent/program/user.hpp"

namespace microvm::agent {

struct Program {
  std::vector<std::string> arguments;    // at least one when it is spawned
  std::vector<std::string> environment;  // HOME is there
  std::string cwd;                       // absolute or relative to /
  std::string user;
  uint32_t timeout_ms = 0;  // 0: none
  bool stdin_open = false;
};

// The rest of an exec or start: the request's body and the two frames behind it.
[[nodiscard]] Outcome<Program> read_program(Channel& channel, const FrameHeader& request);

// The two frames behind a request alone: arguments (there may be none) and environment.
[[nodiscard]] Outcome<void> read_program_lists(Channel& channel, Program& program);

// The value of NAME in an environment, or null.
[[nodiscard]] const char* find_variable(const std::vector<std::string>& environment,
                                        std::string_view name);

// The files to try for arguments[0], in order: itself if it has a slash, else one per entry of the
// environment's PATH.
[[nodiscard]] std::vector<std::string> candidate_files(const Program& program);

}  // namespace microvm::agent
