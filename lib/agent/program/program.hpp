// What the host asks to be run, read from the wire.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/link/channel.hpp"
#include "agent/program/user.hpp"

namespace microvm::agent {

// What is said of the session of a program of exec.
struct SessionRequest {
  std::string id;  // empty: none was chosen
  bool keep = false;
  bool detached = false;
  uint64_t attempt = 0;
};

struct Program {
  std::vector<std::string> arguments;    // at least one when it is spawned
  std::vector<std::string> environment;  // HOME is there
  std::string cwd;                       // absolute or relative to /
  std::string user;
  uint32_t timeout_ms = 0;  // 0: none
  bool stdin_open = false;
  bool no_network = false;  // but a loopback of its own
  SessionRequest session;
};

// As much as Linux passes on to a program, of arguments and of environment.
inline constexpr uint32_t kMaxListFrames = 8;
static_assert(kMaxListFrames * wire::kMaxFrameBody == 2 * 1024 * 1024);

// The rest of an exec or start: the request's body and the two lists behind it.
[[nodiscard]] Outcome<Program> read_program(Channel& channel, const FrameHeader& request);

// The two lists behind a request alone: arguments (there may be none) and environment, each in so
// many frames.
struct ListFrames {
  uint32_t arguments = 1;
  uint32_t environment = 1;
};
[[nodiscard]] Outcome<void> read_program_lists(Channel& channel, Program& program,
                                               ListFrames frames = {});

// The value of NAME in an environment, or null.
[[nodiscard]] const char* find_variable(const std::vector<std::string>& environment,
                                        std::string_view name);

// The files to try for arguments[0], in order: itself if it has a slash, else one per entry of the
// environment's PATH.
[[nodiscard]] std::vector<std::string> candidate_files(const Program& program);

}  // namespace microvm::agent
