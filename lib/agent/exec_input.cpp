#include "agent/exec_input.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>

#include "agent/channel.hpp"

namespace microvm::agent {
namespace {

constexpr size_t kMaxControlBody = 64;  // signal, stdin_end

}  // namespace

ExecInput::ExecInput(const Child& child, base::Fd program_stdin)
    : child_(&child), stdin_(std::move(program_stdin)), buffer_(wire::kDataChunk) {}

Outcome<void> ExecInput::receive(int connection) {
  std::memmove(buffer_.data(), buffer_.data() + begin_, available());
  end_ -= begin_;
  begin_ = 0;
  const ssize_t count =
      recv(connection, buffer_.data() + end_, buffer_.size() - end_, MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return {};
  if (count <= 0) return fail("the host closed the connection", ECONNRESET);
  end_ += static_cast<size_t>(count);
  return consume();
}

Outcome<void> ExecInput::consume() {
  blocked_ = false;
  for (;;) {
    const auto progressed = consume_step();
    if (!progressed) return fail(progressed.error());
    if (!*progressed) return {};
  }
}

// One piece of a frame; false when more bytes, or room in the pipe, are needed first.
Outcome<bool> ExecInput::consume_step() {
  if (!in_frame_) {
    if (available() < FrameHeader::kSize) return false;
    if (auto begun = begin_frame(); !begun) return fail(begun.error());
  }
  if (type_ == FrameType::stdin_data) {
    feed_stdin();
    if (body_left_ > 0) return false;
  } else {
    if (available() < body_left_) return false;
    if (auto handled = handle_control(); !handled) return fail(handled.error());
  }
  in_frame_ = false;
  return true;
}

Outcome<void> ExecInput::begin_frame() {
  std::array<std::byte, FrameHeader::kSize> bytes{};
  std::copy_n(buffer_.data() + begin_, bytes.size(), bytes.begin());
  skip(bytes.size());
  const auto header = FrameHeader::decode(bytes);
  const bool is_control = header.type == FrameType::signal || header.type == FrameType::stdin_end;
  if (!is_control && header.type != FrameType::stdin_data)
    return fail("unexpected frame of type " + std::to_string(static_cast<int>(header.type)) +
                    " during exec",
                EPROTO);
  if (header.body_size > (is_control ? kMaxControlBody : wire::kMaxFrameBody))
    return fail("a frame during exec has " + std::to_string(header.body_size) + " bytes", EMSGSIZE);
  in_frame_ = true;
  type_ = header.type;
  body_left_ = header.body_size;
  return {};
}

Outcome<void> ExecInput::handle_control() {
  const auto body = std::span<const std::byte>(buffer_).subspan(begin_, body_left_);
  skip(body_left_);
  body_left_ = 0;
  if (type_ == FrameType::stdin_end) {
    stdin_.reset();
    return {};
  }
  microvm_agent_SignalRequest request = microvm_agent_SignalRequest_init_zero;
  if (!decode_message(body, microvm_agent_SignalRequest_fields, &request) || request.signal == 0 ||
      request.signal > static_cast<uint32_t>(SIGRTMAX))
    return fail("no such signal: " + std::to_string(request.signal), EINVAL);
  if (child_ != nullptr) child_->kill_group(static_cast<int>(request.signal));
  return {};
}

void ExecInput::feed_stdin() {
  while (body_left_ > 0 && available() > 0) {
    const size_t piece = std::min(body_left_, available());
    ssize_t count = static_cast<ssize_t>(piece);
    if (stdin_) count = write(stdin_.get(), buffer_.data() + begin_, piece);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) {
      blocked_ = true;
      return;
    }
    if (count < 0) {  // the program closed its stdin: the rest goes nowhere
      stdin_.reset();
      continue;
    }
    skip(static_cast<size_t>(count));
    body_left_ -= static_cast<size_t>(count);
  }
}

void ExecInput::skip(size_t count) {
  begin_ += count;
}

}  // namespace microvm::agent
