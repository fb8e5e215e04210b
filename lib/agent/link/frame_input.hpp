// Frames that arrive while an operation runs, in pieces: bytes for the program go on piecewise, so
// a frame of any size needs one small buffer; while the program does not read, neither do we.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "agent/base/failed.hpp"
#include "wire/agent_frame.hpp"

namespace microvm::agent {

// What frames of one stream mean. Its data frames are stdin_data.
class FrameSink {
 public:
  // A small frame of another type that may come.
  [[nodiscard]] virtual bool expects(wire::FrameType type) const = 0;
  [[nodiscard]] virtual Outcome<void> take_control(wire::FrameType type,
                                                   std::span<const std::byte> body) = 0;
  // How many of these bytes it took; fewer than all: the program does not read, come again.
  [[nodiscard]] virtual size_t take_data(std::span<const std::byte> bytes) = 0;

 protected:
  ~FrameSink() = default;
};

class FrameInput {
 public:
  // `during` is the operation's name in messages.
  FrameInput(const char* during, size_t buffer_bytes)
      : during_(during), capacity_(buffer_bytes), buffer_(new std::byte[buffer_bytes]) {}

  // The sink did not take all: consume() when it will.
  [[nodiscard]] bool blocked() const { return blocked_; }

  // Takes what the host has sent. An error is a broken stream, or the host being gone.
  [[nodiscard]] Outcome<void> receive(int connection, FrameSink& sink);
  [[nodiscard]] Outcome<void> consume(FrameSink& sink);

 private:
  [[nodiscard]] Outcome<bool> consume_step(FrameSink& sink);
  [[nodiscard]] Outcome<void> begin_frame(const FrameSink& sink);
  [[nodiscard]] Outcome<void> pass_control(FrameSink& sink);
  void pass_data(FrameSink& sink);
  void skip(size_t count) { begin_ += count; }
  [[nodiscard]] size_t available() const { return end_ - begin_; }
  [[nodiscard]] std::span<const std::byte> front(size_t count) const {
    return {buffer_.get() + begin_, count};
  }

  const char* during_;
  size_t capacity_;
  std::unique_ptr<std::byte[]> buffer_;  // not filled: many never carry much
  size_t begin_ = 0;
  size_t end_ = 0;
  bool in_frame_ = false;
  wire::FrameType type_{};
  size_t body_left_ = 0;  // of the frame, not yet consumed
  bool blocked_ = false;
};

}  // namespace microvm::agent
