// One client of a terminal session, on its connection. What it has not been sent yet stays in the
// session's ring; so a client costs the same whether it reads or not.
#pragma once

#include <poll.h>

#include <cstdint>
#include <optional>

#include "agent/base/time.hpp"
#include "agent/link/frame_input.hpp"
#include "agent/link/outgoing_frame.hpp"
#include "agent/program/spawn.hpp"
#include "agent/terminal/pty_ring.hpp"
#include "agent/terminal/pty_terminal.hpp"
#include "base/fd.hpp"
#include "wire/agent.pb.h"

namespace microvm::agent {

// The program waits for a client that is this far behind …
inline constexpr uint64_t kHoldBytes = 128 * 1024;
// … but not longer than this. Then output goes on, and the client loses what it is too slow for.
inline constexpr int64_t kPatienceMs = 2000;

// What a client asks for when it attaches.
struct PtyWish {
  base::Fd connection;
  bool write = false;
  bool take_over = false;
  TerminalSize size;
  std::optional<uint64_t> position;  // it knows the output before
};

class PtyClient {
 public:
  PtyClient(base::Fd connection, bool writer, uint64_t position);

  [[nodiscard]] bool writer() const { return writer_; }
  void demote();
  [[nodiscard]] uint64_t position() const { return position_; }

  // --- from the client
  [[nodiscard]] pollfd interest() const;
  // Its input waits for the program to read.
  [[nodiscard]] bool blocked() const { return input_.blocked(); }
  // An error: it is gone, or sends what makes no sense.
  [[nodiscard]] Outcome<void> receive(FrameSink& sink, short events);
  [[nodiscard]] Outcome<void> resume(FrameSink& sink) { return input_.consume(sink); }

  // --- to the client
  void greet(microvm_agent_PtyOpened opened, const PtyRing& ring);
  // Sends what the connection takes now; with a status, that after the last of the output. False:
  // it is gone.
  [[nodiscard]] bool send(const PtyRing& ring, const std::optional<ExitStatus>& status);

  // Whether the program has to wait for it. Asked in each turn, for it watches the time.
  [[nodiscard]] bool holds_back(uint64_t end);
  [[nodiscard]] const Deadline& patience() const { return patience_; }

 private:
  [[nodiscard]] bool next_frame(const PtyRing& ring, const std::optional<ExitStatus>& status);
  void frame_output(const PtyRing& ring);
  void frame_loss(const PtyRing& ring);
  void frame_exit(const ExitStatus& status);

  base::Fd connection_;
  FrameInput input_;
  OutgoingFrame outgoing_;
  uint64_t position_;  // of the next byte to send
  bool writer_;
  bool tell_role_ = false;
  bool told_exit_ = false;
  bool held_ = false;
  bool lagging_ = false;  // until it has caught up
  Deadline patience_ = Deadline::never();
};

}  // namespace microvm::agent
