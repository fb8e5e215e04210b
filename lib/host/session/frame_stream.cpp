#include "host/session/frame_stream.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <string>
#include <utility>

namespace microvm::host {

bool is_quiet(int stream) {
  pollfd state{stream, POLLIN | POLLRDHUP, 0};
  return ::poll(&state, 1, 0) == 0;
}

Result<FrameReader::State> FrameReader::fill(int fd, std::byte* to, size_t size) {
  while (have_ < size) {
    const auto got = ::recv(fd, to + have_, size - have_, MSG_DONTWAIT);
    if (got > 0) {
      have_ += static_cast<size_t>(got);
    } else if (got == 0 || errno == ECONNRESET || errno == EPIPE) {
      return State::end;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return State::would_block;
    } else if (errno != EINTR) {
      return base::fail_errno("read from the agent");
    }
  }
  return State::frame;
}

Result<FrameReader::State> FrameReader::start_body() {
  const auto header = wire::FrameHeader::decode(header_);
  if (header.body_size > wire::kMaxFrameBody) {
    return base::fail(ErrorCode::protocol,
                      "the agent sent a frame of " + std::to_string(header.body_size) + " bytes");
  }
  frame_.type = header.type;
  frame_.body.resize(header.body_size);
  in_body_ = true;
  have_ = 0;
  return State::frame;
}

Result<FrameReader::State> FrameReader::advance(int fd) {
  if (!in_body_) {
    auto state = fill(fd, header_.data(), header_.size());
    if (!state || *state != State::frame) return state;
    if (auto body = start_body(); !body) return body;
  }
  return fill(fd, frame_.body.data(), frame_.body.size());
}

Frame FrameReader::take() {
  in_body_ = false;
  have_ = 0;
  return std::exchange(frame_, {});
}

Result<std::optional<Frame>> FrameReader::read(int fd, const Limits& limits,
                                               std::string_view what) {
  // A slow sender is cut off where it is waited for, one that never lets us wait here.
  if (auto ok = limits.check(what); !ok) return base::fail(ok.error());
  for (;;) {
    const auto state = advance(fd);
    if (!state) return base::fail(state.error());
    if (*state == State::frame) return take();
    if (*state == State::end) return std::nullopt;
    if (auto ready = limits.wait(fd, POLLIN, what); !ready) return base::fail(ready.error());
  }
}

Result<void> FrameWriter::flush(int fd, const Limits& limits, std::string_view what) {
  while (sent_ < pending_.size()) {
    const auto sent =
        ::send(fd, pending_.data() + sent_, pending_.size() - sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      sent_ += static_cast<size_t>(sent);
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return base::fail(ErrorCode::vm_gone, std::string(what) + ": the agent closed the stream");
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (auto ready = limits.wait(fd, POLLOUT, what); !ready) return ready;
    } else if (errno != EINTR) {
      return base::fail_errno(std::string(what) + ": send");
    }
  }
  return {};
}

Result<void> FrameWriter::write(int fd, wire::FrameType type, wire::ByteView body,
                                const Limits& limits, std::string_view what, bool* taken) {
  const FrameToSend frame{type, body};
  return write(fd, std::span(&frame, 1), limits, what, taken);
}

Result<void> FrameWriter::write(int fd, std::span<const FrameToSend> frames, const Limits& limits,
                                std::string_view what, bool* taken) {
  const auto held = limits.lock(mutex_, what);
  if (!held) return base::fail(held.error());
  if (auto rest = flush(fd, limits, what); !rest) return rest;
  pending_.clear();
  for (const auto& [type, body] : frames) {
    const auto header = wire::FrameHeader{static_cast<uint32_t>(body.size()), type}.encode();
    pending_.insert(pending_.end(), header.begin(), header.end());
    pending_.insert(pending_.end(), body.begin(), body.end());
  }
  sent_ = 0;
  auto sent = flush(fd, limits, what);
  // Of which nothing has gone is not sent later either.
  if (!sent && sent_ == 0) pending_.clear();
  if (taken != nullptr) *taken = !pending_.empty();
  return sent;
}

}  // namespace microvm::host
