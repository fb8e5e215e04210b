// What the host sends to a running program: stdin and signals.
#pragma once

#include <cstddef>

#include "agent/base/failed.hpp"
#include "agent/link/frame_input.hpp"
#include "agent/program/spawn.hpp"
#include "base/fd.hpp"

namespace microvm::agent {

class ExecInput final : FrameSink {
 public:
  // `program_stdin` may be invalid: what arrives for it is dropped.
  ExecInput(const Child& child, base::Fd program_stdin);

  // True while stdin's pipe is full: poll stdin_fd() for writing instead of the host for reading.
  [[nodiscard]] bool blocked() const { return frames_.blocked(); }
  [[nodiscard]] int stdin_fd() const { return stdin_.get(); }

  // Takes what the host has sent. An error is a broken stream, or the host being gone.
  [[nodiscard]] Outcome<void> receive(int connection) { return frames_.receive(connection, *this); }
  // stdin's pipe has room again.
  [[nodiscard]] Outcome<void> resume() { return frames_.consume(*this); }
  // The program has ended: its process group must not be signalled any more.
  void stop_signals() { child_ = nullptr; }

 private:
  [[nodiscard]] bool expects(wire::FrameType type) const override;
  [[nodiscard]] Outcome<void> take_control(wire::FrameType type,
                                           std::span<const std::byte> body) override;
  [[nodiscard]] size_t take_data(std::span<const std::byte> bytes) override;

  const Child* child_;
  base::Fd stdin_;
  FrameInput frames_;
};

// The number in a signal frame. Error: there is no such signal.
[[nodiscard]] Outcome<int> read_signal(std::span<const std::byte> body);

}  // namespace microvm::agent
