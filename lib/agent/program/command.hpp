// The image's command: at most one per guest, and the guest ends with it.
#pragma once

#include <optional>
#include <string>

#include "agent/base/sync.hpp"
#include "agent/link/channel.hpp"
#include "agent/program/app_log.hpp"
#include "agent/program/program.hpp"
#include "agent/program/spawn.hpp"

namespace microvm::agent {

// What a command uses of its guest.
struct CommandGround {
  int root_fd;  // the root of the image's files
  int cgroup;   // where its processes go; -1: none
  AppLog& log;
};

class Command {
 public:
  // Runs it and returns true when it has ended, false when it was not started. `started` is called
  // as soon as that is known, with the failure if there is one. A second command is refused.
  bool run(const CommandGround& ground, const Program& program,
           void (*started)(Channel&, const Outcome<void>&), Channel& channel);

  [[nodiscard]] bool running();
  // "the command exited with code 1", or empty.
  [[nodiscard]] std::string how_it_ended();
  // Of one that has.
  [[nodiscard]] ExitStatus status();
  // Waits for the end; false when the time is over first, or there is no command.
  bool wait_ended(int64_t timeout_ms);
  void signal(int signal);

  // Somebody who has to tell the host that it ended, and for whom the machine's end waits.
  class Witness {
   public:
    explicit Witness(Command& command);
    ~Witness();
    Witness(const Witness&) = delete;
    Witness& operator=(const Witness&) = delete;

   private:
    Command& command_;
  };
  void wait_for_witnesses(int64_t timeout_ms);

 private:
  enum class State { none, starting, running, ended };

  [[nodiscard]] bool claim();
  [[nodiscard]] Outcome<void> launch(const CommandGround& ground, const Program& program,
                                     base::Fd& output);
  void pump(AppLog& log, int output);
  void finish();

  Mutex mutex_;
  Condition changed_;
  State state_ = State::none;
  std::optional<Child> child_;
  std::string end_text_;
  ExitStatus status_;
  int witnesses_ = 0;
};

}  // namespace microvm::agent
