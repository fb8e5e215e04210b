#include "agent/session/session_client.hpp"

#include "agent/link/channel.hpp"
#include "agent/link/vsock.hpp"

namespace microvm::agent {

SessionClient::SessionClient(base::Fd connection, Kind kind, uint64_t position,
                             const ClientPace& pace)
    : connection_(std::move(connection)),
      pace_(&pace),
      input_("a session", pace.input_bytes),
      position_(position),
      kind_(kind) {}

void SessionClient::demote() {
  kind_ = Kind::reader;
  tell_role_ = true;
}

pollfd SessionClient::interest() const {
  int events = POLLRDHUP;
  if (!blocked() && !broken_) events |= POLLIN;
  if (!outgoing_.empty() && !deaf_) events |= POLLOUT;
  return {.fd = connection_.get(), .events = static_cast<short>(events), .revents = 0};
}

Outcome<void> SessionClient::receive(FrameSink& sink, short events) {
  if ((events & POLLIN) != 0) return judge(input_.receive(connection_.get(), sink));
  const bool closed = (events & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
  if (closed || (blocked() && host_left(connection_.get())))
    return fail("the host closed the connection", ECONNRESET);
  return {};
}

Outcome<void> SessionClient::resume(FrameSink& sink) {
  return judge(input_.consume(sink));
}

// One whose bytes are no frames is told so before it has to go.
Outcome<void> SessionClient::judge(Outcome<void> received) {
  if (received || received.error().error == ECONNRESET) return received;
  broken_ = received.error();
  return {};
}

void SessionClient::greet(FrameType type, const pb_msgdesc_t* fields, const void* message) {
  outgoing_.set_message(type, fields, message);
}

bool SessionClient::send(const Ring& ring, const std::optional<ProgramEnd>& end) {
  if (deaf_) return true;
  do {
    // The end of the stream shows where it is read, behind its last word (exec_drop).
    if (!outgoing_.flush(connection_.get())) return deaf_ = !broken_.has_value();
  } while (outgoing_.empty() && next_frame(ring, end));
  return !(told_broken_ && outgoing_.empty());
}

// False: there is nothing to send.
bool SessionClient::next_frame(const Ring& ring, const std::optional<ProgramEnd>& end) {
  if (broken_) {
    if (std::exchange(told_broken_, true)) return false;
    outgoing_.set_failure(*broken_);
  } else if (tell_role_) {
    frame_role();
  } else if (!end_only() && position_ < ring.begin()) {
    frame_loss(ring);
  } else if (!end_only() && position_ < ring.end()) {
    frame_output(ring);
  } else if (end && !told_exit_) {
    frame_exit(*end);
  } else {
    return false;
  }
  return true;
}

void SessionClient::frame_role() {
  tell_role_ = false;
  microvm_agent_PtyRole role = microvm_agent_PtyRole_init_zero;
  outgoing_.set_message(FrameType::pty_role, microvm_agent_PtyRole_fields, &role);
}

void SessionClient::frame_output(const Ring& ring) {
  const Ring::Piece piece = ring.copy(position_, outgoing_.body_space());
  position_ += piece.size;
  outgoing_.seal(
      piece.stream == OutputStream::out ? FrameType::stdout_data : FrameType::stderr_data,
      piece.size);
}

void SessionClient::frame_loss(const Ring& ring) {
  microvm_agent_PtyLost lost = microvm_agent_PtyLost_init_zero;
  lost.bytes = ring.clean_begin() - position_;
  position_ += lost.bytes;
  outgoing_.set_message(FrameType::pty_lost, microvm_agent_PtyLost_fields, &lost);
}

void SessionClient::frame_exit(const ProgramEnd& end) {
  told_exit_ = true;
  microvm_agent_Exited exited = microvm_agent_Exited_init_zero;
  exited.code = end.status.code;
  exited.signal = static_cast<uint32_t>(end.status.signal);
  exited.timed_out = end.timed_out;
  outgoing_.set_message(FrameType::exited, microvm_agent_Exited_fields, &exited);
}

bool SessionClient::holds_back(uint64_t end) {
  if (end_only()) return false;
  const uint64_t behind = end - position_;
  if (lagging_) {
    lagging_ = behind > 0;
    return false;
  }
  if (!held_ && behind >= pace_->hold_bytes) {
    held_ = true;
    if (pace_->patience_ms) patience_ = Deadline::after_ms(*pace_->patience_ms);
  } else if (held_ && (behind < pace_->hold_bytes / 2 || patience_.passed())) {
    lagging_ = behind >= pace_->hold_bytes / 2;
    held_ = false;
    patience_ = Deadline::never();
  }
  return held_;
}

}  // namespace microvm::agent
