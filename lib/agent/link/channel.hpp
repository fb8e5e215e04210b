// Frames over a connected stream, one after another and blocking: enough for every operation that
// does not have to do two things at once.
#pragma once

#include <pb.h>

#include <cstddef>
#include <span>
#include <vector>

#include "agent/base/failed.hpp"
#include "base/fd.hpp"
#include "wire/agent.pb.h"
#include "wire/agent_frame.hpp"

namespace microvm::agent {

using wire::FrameHeader;
using wire::FrameType;

// The largest encoded message of ours; data frames are not limited by it.
inline constexpr size_t kMaxMessageBytes = 1024;

// Puts header and message into `out` (at least kSize + kMaxMessageBytes); returns the frame's size.
[[nodiscard]] size_t encode_frame(std::span<std::byte> out, FrameType type,
                                  const pb_msgdesc_t* fields, const void* message);

// False for a body that is not this message, or exceeds its bounds.
[[nodiscard]] bool decode_message(std::span<const std::byte> body, const pb_msgdesc_t* fields,
                                  void* message);

// Fills a bounded text field of a message; cuts between characters.
void copy_text(std::span<char> field, const std::string& text);

[[nodiscard]] microvm_agent_Failure to_message(const Failed& failure);

class Channel {
 public:
  explicit Channel(base::Fd connection) : connection_(std::move(connection)) {}

  // A header whose body_size is within the wire's bound.
  [[nodiscard]] Outcome<FrameHeader> read_header();
  [[nodiscard]] Outcome<void> read_exactly(std::span<std::byte> out);
  [[nodiscard]] Outcome<std::vector<std::byte>> read_body(const FrameHeader& header);
  // The next frame, which has to be of this type.
  [[nodiscard]] Outcome<std::vector<std::byte>> read_frame(FrameType expected);

  // False: the host is gone.
  bool send_message(FrameType type, const pb_msgdesc_t* fields, const void* message);
  bool send_empty(FrameType type);
  bool send_failure(const Failed& failure);
  bool send_outcome(const Outcome<void>& outcome);  // ok, or the failure
  // Frames that are encoded already.
  bool send_bytes(std::span<const std::byte> bytes);

  // Ends a conversation whose last frame must reach the host although the machine may end or the
  // host still sends: waits a short while for it to take leave.
  void close_gently();

  [[nodiscard]] int fd() const { return connection_.get(); }
  // Something was to be read, and the connection had ended.
  [[nodiscard]] bool broken() const { return broken_; }
  // The same, and nobody had closed it: that is how a clone finds all that its snapshot had open.
  [[nodiscard]] bool was_reset() const { return was_reset_; }
  // The host closed its end, or its half of it.
  [[nodiscard]] bool host_gone() const;
  // Waits for that; false when the connection broke instead, as all do when a snapshot is restored.
  bool wait_closed();
  [[nodiscard]] base::Fd take() { return std::move(connection_); }

 private:
  base::Fd connection_;
  bool broken_ = false;
  bool was_reset_ = false;
};

}  // namespace microvm::agent
