// The image's command, from its start on, for a build that wants to know whether it goes on
// running.
#pragma once

#include <optional>

#include "host/session/operation.hpp"

namespace microvm::host {

class StartedCommand {
 public:
  // Returns when it runs; its output goes to the app log.
  static Result<StartedCommand> start(std::shared_ptr<AgentLink> link, const AgentCommand& command,
                                      const Limits& limits);

  // How it has ended, once its log is complete; empty when it has not within this time.
  Result<std::optional<ExitStatus>> wait_ended(std::chrono::milliseconds time,
                                               const Limits& limits);
  // Waits until it has ended, or all programs have had nothing to do for a while: empty then, and
  // after ten seconds. No fixed time would do: a slow machine takes longer to find out that a
  // program has nothing to read.
  Result<std::optional<ExitStatus>> settle(AgentClient& agent, const Limits& limits);

 private:
  explicit StartedCommand(Operation operation) : operation_(std::move(operation)) {}

  Operation operation_;
  std::optional<ExitStatus> ended_;
};

}  // namespace microvm::host
