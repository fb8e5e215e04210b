#include "agent/terminal/pty_client.hpp"

#include "agent/link/channel.hpp"
#include "agent/link/vsock.hpp"

namespace microvm::agent {
namespace {

constexpr size_t kInputBytes = 4096;

}  // namespace

PtyClient::PtyClient(base::Fd connection, bool writer, uint64_t position)
    : connection_(std::move(connection)),
      input_("a terminal session", kInputBytes),
      position_(position),
      writer_(writer) {}

void PtyClient::demote() {
  writer_ = false;
  tell_role_ = true;
}

pollfd PtyClient::interest() const {
  int events = POLLRDHUP;
  if (!blocked()) events |= POLLIN;
  if (!outgoing_.empty()) events |= POLLOUT;
  return {.fd = connection_.get(), .events = static_cast<short>(events), .revents = 0};
}

Outcome<void> PtyClient::receive(FrameSink& sink, short events) {
  if ((events & POLLIN) != 0) return input_.receive(connection_.get(), sink);
  const bool closed = (events & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
  if (closed || (blocked() && host_left(connection_.get())))
    return fail("the host closed the connection", ECONNRESET);
  return {};
}

void PtyClient::greet(microvm_agent_PtyOpened opened, const PtyRing& ring) {
  opened.writer = writer_;
  opened.position = position_;
  opened.replay_bytes = ring.end() - position_;
  outgoing_.set_message(FrameType::pty_opened, microvm_agent_PtyOpened_fields, &opened);
}

bool PtyClient::send(const PtyRing& ring, const std::optional<ExitStatus>& status) {
  do {
    if (!outgoing_.flush(connection_.get())) return false;
  } while (outgoing_.empty() && next_frame(ring, status));
  return true;
}

// False: there is nothing to send.
bool PtyClient::next_frame(const PtyRing& ring, const std::optional<ExitStatus>& status) {
  if (tell_role_) {
    tell_role_ = false;
    microvm_agent_PtyRole role = microvm_agent_PtyRole_init_zero;
    outgoing_.set_message(FrameType::pty_role, microvm_agent_PtyRole_fields, &role);
  } else if (position_ < ring.begin()) {
    frame_loss(ring);
  } else if (position_ < ring.end()) {
    frame_output(ring);
  } else if (status && !told_exit_) {
    frame_exit(*status);
  } else {
    return false;
  }
  return true;
}

void PtyClient::frame_output(const PtyRing& ring) {
  const size_t count = ring.copy(position_, outgoing_.body_space());
  position_ += count;
  outgoing_.seal(FrameType::stdout_data, count);
}

void PtyClient::frame_loss(const PtyRing& ring) {
  microvm_agent_PtyLost lost = microvm_agent_PtyLost_init_zero;
  lost.bytes = ring.clean_begin() - position_;
  position_ += lost.bytes;
  outgoing_.set_message(FrameType::pty_lost, microvm_agent_PtyLost_fields, &lost);
}

void PtyClient::frame_exit(const ExitStatus& status) {
  told_exit_ = true;
  microvm_agent_Exited exited = microvm_agent_Exited_init_zero;
  exited.code = status.code;
  exited.signal = static_cast<uint32_t>(status.signal);
  outgoing_.set_message(FrameType::exited, microvm_agent_Exited_fields, &exited);
}

bool PtyClient::holds_back(uint64_t end) {
  const uint64_t behind = end - position_;
  if (lagging_) {
    lagging_ = behind > 0;
    return false;
  }
  if (!held_ && behind >= kHoldBytes) {
    held_ = true;
    patience_ = Deadline::after_ms(kPatienceMs);
  } else if (held_ && (behind < kHoldBytes / 2 || patience_.passed())) {
    lagging_ = behind >= kHoldBytes / 2;
    held_ = false;
    patience_ = Deadline::never();
  }
  return held_;
}

}  // namespace microvm::agent
