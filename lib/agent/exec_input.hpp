// What the host sends to a running program: stdin and signals. Bytes for stdin go on piecewise, so
// a frame of any size needs one small buffer; while the program does not read, neither do we.
#pragma once

#include <cstddef>
#include <vector>

#include "agent/failed.hpp"
#include "agent/spawn.hpp"
#include "base/fd.hpp"
#include "wire/agent_frame.hpp"

namespace microvm::agent {

class ExecInput {
 public:
  // `program_stdin` may be invalid: what arrives for it is dropped.
  ExecInput(const Child& child, base::Fd program_stdin);

  // True while stdin's pipe is full: poll stdin_fd() for writing instead of the host for reading.
  [[nodiscard]] bool blocked() const { return blocked_; }
  [[nodiscard]] int stdin_fd() const { return stdin_.get(); }

  // Takes what the host has sent. An error is a broken stream, or the host being gone.
  [[nodiscard]] Outcome<void> receive(int connection);
  // stdin's pipe has room again.
  [[nodiscard]] Outcome<void> resume() { return consume(); }
  // The program has ended: its process group must not be signalled any more.
  void stop_signals() { child_ = nullptr; }

 private:
  [[nodiscard]] Outcome<void> consume();
  [[nodiscard]] Outcome<bool> consume_step();
  [[nodiscard]] Outcome<void> begin_frame();
  [[nodiscard]] Outcome<void> handle_control();
  void feed_stdin();
  void skip(size_t count);
  [[nodiscard]] size_t available() const { return end_ - begin_; }

  const Child* child_;
  base::Fd stdin_;
  std::vector<std::byte> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  bool in_frame_ = false;
  wire::FrameType type_{};
  size_t body_left_ = 0;  // of the frame, not yet consumed
  bool blocked_ = false;
};

}  // namespace microvm::agent
