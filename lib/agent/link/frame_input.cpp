#include "agent/link/frame_input.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace microvm::agent {

using wire::FrameHeader;
using wire::FrameType;

namespace {

constexpr size_t kMaxControlBody = 64;

}  // namespace

Outcome<void> FrameInput::receive(int connection, FrameSink& sink) {
  std::memmove(buffer_.get(), buffer_.get() + begin_, available());
  end_ -= begin_;
  begin_ = 0;
  const ssize_t count = recv(connection, buffer_.get() + end_, capacity_ - end_, MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return {};
  if (count <= 0) return fail("the host closed the connection", ECONNRESET);
  end_ += static_cast<size_t>(count);
  return consume(sink);
}

Outcome<void> FrameInput::consume(FrameSink& sink) {
  blocked_ = false;
  for (;;) {
    const auto progressed = consume_step(sink);
    if (!progressed) return fail(progressed.error());
    if (!*progressed) return {};
  }
}

// One piece of a frame; false when more bytes, or room in the program's input, are needed first.
Outcome<bool> FrameInput::consume_step(FrameSink& sink) {
  if (!in_frame_) {
    if (available() < FrameHeader::kSize) return false;
    if (auto begun = begin_frame(sink); !begun) return fail(begun.error());
  }
  if (type_ == FrameType::stdin_data) {
    pass_data(sink);
    if (body_left_ > 0) return false;
  } else {
    if (available() < body_left_) return false;
    if (auto handled = pass_control(sink); !handled) return fail(handled.error());
  }
  in_frame_ = false;
  return true;
}

Outcome<void> FrameInput::begin_frame(const FrameSink& sink) {
  std::array<std::byte, FrameHeader::kSize> bytes{};
  std::copy_n(buffer_.get() + begin_, bytes.size(), bytes.begin());
  skip(bytes.size());
  const auto header = FrameHeader::decode(bytes);
  const bool is_data = header.type == FrameType::stdin_data;
  if (!is_data && !sink.expects(header.type))
    return fail("unexpected frame of type " + std::to_string(static_cast<int>(header.type)) +
                    " during " + during_,
                EPROTO);
  if (header.body_size > (is_data ? wire::kMaxFrameBody : kMaxControlBody))
    return fail("a frame during " + std::string(during_) + " has " +
                    std::to_string(header.body_size) + " bytes",
                EMSGSIZE);
  in_frame_ = true;
  type_ = header.type;
  body_left_ = header.body_size;
  return {};
}

Outcome<void> FrameInput::pass_control(FrameSink& sink) {
  const auto body = front(body_left_);
  skip(body_left_);
  body_left_ = 0;
  return sink.take_control(type_, body);
}

void FrameInput::pass_data(FrameSink& sink) {
  const size_t piece = std::min(body_left_, available());
  const size_t taken = piece == 0 ? 0 : sink.take_data(front(piece));
  skip(taken);
  body_left_ -= taken;
  blocked_ = taken < piece;
}

}  // namespace microvm::agent
