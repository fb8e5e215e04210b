// A connection to a port of a guest that is being made by the reactor alone.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/fd.hpp"
#include "host/session/frame_stream.hpp"
#include "host/vm/awaited.hpp"
#include "host/worker/reactor.hpp"

namespace microvm::host {

using AwaitedSocket = Awaited<base::Fd>;

// Held by shared_ptr only; what it waits for keeps it. All functions for the reactor's thread, but
// the constructor.
class PendingConnect : public std::enable_shared_from_this<PendingConnect> {
 public:
  PendingConnect(Reactor& reactor, uint16_t port, std::shared_ptr<AwaitedSocket> result);

  using Gone = std::function<void(std::shared_ptr<PendingConnect>, Error)>;
  // With a Vm that is awake. `on_gone`: instead of a result, when the Vm has gone, asleep perhaps.
  void start(const std::shared_ptr<VmSession>& session, Gone on_gone);
  // The result is deadline_exceeded when there is none by then.
  void end_after(std::chrono::milliseconds limit);
  // Delivers, and lets go of everything.
  void finish(Result<base::Fd> result);
  [[nodiscard]] bool is_over() const { return result_->is_over(); }

 private:
  void ask(base::Fd stream);
  void on_readable();
  void stop_watching();
  void fail(Error error);

  Reactor& reactor_;
  const uint16_t port_;
  const std::string what_;
  const std::shared_ptr<AwaitedSocket> result_;
  Gone on_gone_;  // does not hold this
  base::Fd stream_;
  FrameReader reader_;
  std::optional<sys::Loop::WatchId> watch_;
  std::optional<sys::Loop::TimerId> timer_;
};

}  // namespace microvm::host
