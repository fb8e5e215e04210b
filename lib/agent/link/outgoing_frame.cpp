#include "agent/link/outgoing_frame.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "agent/link/channel.hpp"

namespace microvm::agent {

OutgoingFrame::OutgoingFrame() : bytes_(new std::byte[kCapacity]) {}

std::span<std::byte> OutgoingFrame::body_space() {
  return all().subspan(FrameHeader::kSize);
}

void OutgoingFrame::seal(FrameType type, size_t body_size) {
  const auto header =
      FrameHeader{.body_size = static_cast<uint32_t>(body_size), .type = type}.encode();
  std::copy(header.begin(), header.end(), bytes_.get());
  begin_ = 0;
  end_ = FrameHeader::kSize + body_size;
}

void OutgoingFrame::set_message(FrameType type, const pb_msgdesc_t* fields, const void* message) {
  begin_ = 0;
  end_ = encode_frame(all(), type, fields, message);
}

void OutgoingFrame::set_failure(const Failed& failure) {
  const microvm_agent_Failure message = to_message(failure);
  set_message(FrameType::failed, microvm_agent_Failure_fields, &message);
}

bool OutgoingFrame::flush(int fd) {
  while (!empty()) {
    const ssize_t count =
        send(fd, bytes_.get() + begin_, end_ - begin_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno == EAGAIN;
    begin_ += static_cast<size_t>(count);
  }
  return true;
}

}  // namespace microvm::agent
