// The one frame that is on its way to the host. While it is, nothing else is read from the program:
// so a host that does not read stops the program, and the agent's memory stays as it is.
#pragma once

#include <pb.h>

#include <cstddef>
#include <memory>
#include <span>

#include "agent/base/failed.hpp"
#include "wire/agent_frame.hpp"

namespace microvm::agent {

class OutgoingFrame {
 public:
  OutgoingFrame();

  [[nodiscard]] bool empty() const { return begin_ == end_; }

  // Only while empty. A body of up to kDataChunk bytes is put into body_space(), then sealed.
  [[nodiscard]] std::span<std::byte> body_space();
  void seal(wire::FrameType type, size_t body_size);
  void set_message(wire::FrameType type, const pb_msgdesc_t* fields, const void* message);
  void set_failure(const Failed& failure);

  // Writes what the stream takes without blocking. False: the host is gone.
  [[nodiscard]] bool flush(int fd);

 private:
  [[nodiscard]] std::span<std::byte> all() { return {bytes_.get(), kCapacity}; }

  static constexpr size_t kCapacity = wire::FrameHeader::kSize + wire::kDataChunk;
  std::unique_ptr<std::byte[]> bytes_;  // not filled: there may be many that never carry much
  size_t begin_ = 0;
  size_t end_ = 0;
};

}  // namespace microvm::agent
