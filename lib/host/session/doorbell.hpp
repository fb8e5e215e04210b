// The agent's call after a boot or a restore: it says hello, is told who it is, and says when its
// user processes run. It is told before its hello is here: every agent says hello first and then
// reads, and a round trip through a guest that is just waking up is one that somebody waits for.
#pragma once

#include <chrono>

#include "base/fd.hpp"
#include "host/session/frame_stream.hpp"
#include "host/session/identity.hpp"

namespace microvm::host {

// What stays of it: the stream, to be held open as long as the guest runs, and what its agent
// knows.
struct HeldDoorbell {
  base::Fd stream;
  uint32_t agent_version = 0;
};

class Doorbell {
 public:
  Doorbell(base::Fd stream, Identity identity);

  // The first call tells the agent who it is. Takes what has arrived without waiting; true when the
  // agent is ready. Errors: protocol, vm_gone.
  Result<bool> advance();
  Result<void> wait_ready(const Limits& limits);

  [[nodiscard]] int fd() const { return stream_.get(); }
  [[nodiscard]] HeldDoorbell take() { return {std::move(stream_), agent_version_}; }
  [[nodiscard]] bool restored() const { return restored_; }
  [[nodiscard]] bool command_running() const { return command_running_; }
  // For a trace: when hello came, and what the agent says that the rest took; an older one:
  // nothing.
  using Time = std::chrono::steady_clock::time_point;
  [[nodiscard]] Time greeted_at() const { return greeted_at_; }
  [[nodiscard]] std::chrono::microseconds identity_took() const { return identity_took_; }
  [[nodiscard]] std::chrono::microseconds thaw_took() const { return thaw_took_; }

 private:
  Result<void> on_frame(const Frame& frame);
  Result<void> on_hello(const Frame& frame);
  Result<void> send_identity();

  base::Fd stream_;
  Identity identity_;
  FrameReader reader_;
  FrameWriter writer_;
  bool told_ = false;
  bool greeted_ = false;
  bool ready_ = false;
  bool restored_ = false;
  uint32_t agent_version_ = 0;
  bool command_running_ = false;
  Time greeted_at_;
  std::chrono::microseconds identity_took_{0};
  std::chrono::microseconds thaw_took_{0};
};

}  // namespace microvm::host
