// Answers an agent that rings again while its Vm runs: after the process that launched the Vm has
// ended, whoever attaches gets the doorbell. The agent is told the same identity as before.
#pragma once

#include <memory>
#include <optional>

#include "host/session/doorbell.hpp"
#include "host/worker/reactor.hpp"

namespace microvm::host {

// For the reactor's thread. Holds the stream open: the agent sees by its end that nobody listens.
class DoorbellKeeper : public std::enable_shared_from_this<DoorbellKeeper> {
 public:
  DoorbellKeeper(Reactor& reactor, Identity identity)
      : reactor_(reactor), identity_(std::move(identity)) {}

  void answer(base::Fd stream);

 private:
  void on_readable();
  void stop_watching();

  Reactor& reactor_;
  Identity identity_;
  std::optional<Doorbell> doorbell_;
  std::optional<sys::Loop::WatchId> watch_;
};

}  // namespace microvm::host
