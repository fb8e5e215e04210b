// One client of a session, on its connection. What it has not been sent yet stays in the session's
// ring; so a client costs the same whether it reads or not.
#pragma once

#include <poll.h>

#include <cstdint>
#include <optional>

#include "agent/base/time.hpp"
#include "agent/link/frame_input.hpp"
#include "agent/link/outgoing_frame.hpp"
#include "agent/program/spawn.hpp"
#include "agent/session/ring.hpp"
#include "agent/session/terminal_size.hpp"
#include "base/fd.hpp"
#include "wire/agent.pb.h"

namespace microvm::agent {

// What a client asks for when it attaches.
struct Wish {
  base::Fd connection;
  bool write = false;
  bool take_over = false;
  std::optional<uint64_t> position;  // it knows the output before
  uint32_t pen = 0;                  // goes on with what it wrote with that one
  bool end_only = false;             // no output, no input: how it ends
  TerminalSize size;                 // of a terminal's writer
};

// How a client and the program wait for each other.
struct ClientPace {
  uint64_t hold_bytes;  // the program waits for a client that is this far behind …
  // … but not longer than this, if there is an end to it. Then output goes on, and the client loses
  // what it is too slow for.
  std::optional<int64_t> patience_ms;
  size_t input_bytes;  // of what it sends, read at a time
};

// How a program ended, and why.
struct ProgramEnd {
  ExitStatus status;
  bool timed_out = false;
};

class SessionClient {
 public:
  enum class Kind : uint8_t { reader, writer, end_only };
  SessionClient(base::Fd connection, Kind kind, uint64_t position, const ClientPace& pace);

  [[nodiscard]] bool writer() const { return kind_ == Kind::writer; }
  [[nodiscard]] bool end_only() const { return kind_ == Kind::end_only; }
  void demote();
  [[nodiscard]] uint64_t position() const { return position_; }
  // It says that it goes.
  void leave() { leaves_ = true; }
  [[nodiscard]] bool leaves() const { return leaves_; }
  // It has what it came for.
  [[nodiscard]] bool told_exit() const { return told_exit_; }

  // --- from the client
  [[nodiscard]] pollfd interest() const;
  // Its input waits for the program to read.
  [[nodiscard]] bool blocked() const { return input_.blocked() && !broken_; }
  // An error: it is gone.
  [[nodiscard]] Outcome<void> receive(FrameSink& sink, short events);
  [[nodiscard]] Outcome<void> resume(FrameSink& sink);

  // --- to the client
  void greet(FrameType type, const pb_msgdesc_t* fields, const void* message);
  // Sends what the connection takes now; with an end, that after the last of the output. False: it
  // is gone, or was told that it sends what makes no sense.
  [[nodiscard]] bool send(const Ring& ring, const std::optional<ProgramEnd>& end);

  // Whether the program has to wait for it. Asked in each turn, for it watches the time.
  [[nodiscard]] bool holds_back(uint64_t end);
  [[nodiscard]] const Deadline& patience() const { return patience_; }

 private:
  [[nodiscard]] bool next_frame(const Ring& ring, const std::optional<ProgramEnd>& end);
  void frame_role();
  void frame_output(const Ring& ring);
  void frame_loss(const Ring& ring);
  void frame_exit(const ProgramEnd& end);
  [[nodiscard]] Outcome<void> judge(Outcome<void> received);

  base::Fd connection_;
  const ClientPace* pace_;
  FrameInput input_;
  OutgoingFrame outgoing_;
  uint64_t position_;  // of the next byte to send
  Kind kind_;
  bool leaves_ = false;
  bool tell_role_ = false;
  bool told_exit_ = false;
  // Nobody reads what is sent; what it said before it went is still to come.
  bool deaf_ = false;
  std::optional<Failed> broken_;  // its frames make no sense any more
  bool told_broken_ = false;
  bool held_ = false;
  bool lagging_ = false;  // until it has caught up
  Deadline patience_ = Deadline::never();
};

}  // namespace microvm::agent
