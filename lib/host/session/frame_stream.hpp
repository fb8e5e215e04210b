// Frames of the agent wire over one stream socket. Nothing is read ahead, so the socket is readable
// exactly when there is more to take; a call that was cut short loses nothing and can be repeated.
#pragma once

#include <mutex>
#include <optional>
#include <span>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "host/base/limits.hpp"
#include "wire/agent_frame.hpp"
#include "wire/bytes.hpp"

namespace microvm::host {

// Nothing has come on a stream, and it has not ended.
[[nodiscard]] bool is_quiet(int stream);

struct Frame {
  wire::FrameType type{};
  wire::Bytes body;
};

// One that is to be sent.
struct FrameToSend {
  wire::FrameType type{};
  wire::ByteView body;
};

// One thread at a time.
class FrameReader {
 public:
  enum class State { frame, would_block, end };

  // Reads what is there without waiting; `frame` once a whole one is in. A stream may end anywhere:
  // inside a frame, too, it only tells that the guest or its connection is gone. Errors: protocol
  // (a body above the bound), io.
  Result<State> advance(int fd);
  Frame take();

  // Waits for a frame; empty at the end of the stream.
  Result<std::optional<Frame>> read(int fd, const Limits& limits, std::string_view what);

 private:
  Result<State> fill(int fd, std::byte* to, size_t size);
  Result<State> start_body();

  std::array<std::byte, wire::FrameHeader::kSize> header_{};
  size_t have_ = 0;  // bytes of the header, or of the body once there is one
  bool in_body_ = false;
  Frame frame_;
};

// Any thread; frames of different threads do not mix. The rest of a frame whose write was cut short
// goes out before the next one; one of which nothing has gone does not.
class FrameWriter {
 public:
  // Errors: vm_gone when the peer is gone, would_block, cancelled, deadline_exceeded, io. `taken`,
  // if there is one, is set to whether the frame goes out, now or before the next one.
  Result<void> write(int fd, wire::FrameType type, wire::ByteView body, const Limits& limits,
                     std::string_view what, bool* taken = nullptr);
  // The same for several in a row, as one: who is to read them is woken once.
  Result<void> write(int fd, std::span<const FrameToSend> frames, const Limits& limits,
                     std::string_view what, bool* taken = nullptr);

 private:
  Result<void> flush(int fd, const Limits& limits, std::string_view what);

  std::timed_mutex mutex_;
  wire::Bytes pending_;
  size_t sent_ = 0;
};

}  // namespace microvm::host
