#include "agent/operation/exec.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <optional>

#include "agent/base/time.hpp"
#include "agent/link/outgoing_frame.hpp"
#include "agent/link/vsock.hpp"
#include "agent/program/exec_input.hpp"
#include "agent/program/pipes.hpp"
#include "agent/program/program.hpp"
#include "agent/program/spawn.hpp"

namespace microvm::agent {
namespace {

// stdout or stderr on its way to the host.
struct OutputStream {
  base::Fd fd;
  FrameType type;
  // What was in the pipe when the program ended. Only that is still read: the pipe may be kept open
  // by something it left running, as with a shell's `&`.
  size_t left = SIZE_MAX;

  [[nodiscard]] bool open() const { return fd.valid() && left > 0; }
};

class ExecSession {
 public:
  ExecSession(int connection, Child child, AgentEnds ends, uint32_t timeout_ms)
      : connection_(connection),
        child_(std::move(child)),
        outputs_{OutputStream{std::move(ends.out), FrameType::stdout_data},
                 OutputStream{std::move(ends.err), FrameType::stderr_data}},
        input_(child_, std::move(ends.in)),
        deadline_(timeout_ms == 0 ? Deadline::never() : Deadline::after_ms(timeout_ms)) {}

  // Returns after the program ended. The error: the host's bytes were no frames.
  Outcome<void> run();

 private:
  enum Slot : size_t { kHost, kStdin, kEnd, kFirstOutput, kSlots = kFirstOutput + 2 };
  using Polls = std::array<pollfd, kSlots>;

  Polls wait_for_something();
  [[nodiscard]] int timeout_ms() const;
  [[nodiscard]] bool host_gone(const Polls& polls) const;
  void send_started();
  void send_exited();
  void take_input(const Polls& polls);
  void collect_output(OutputStream& output);
  void expire();
  void note_end();
  void abandon();
  [[nodiscard]] bool reads_host() const { return !input_.blocked() && !broken_; }
  [[nodiscard]] bool drained() const { return !outputs_[0].open() && !outputs_[1].open(); }

  int connection_;
  Child child_;
  std::array<OutputStream, 2> outputs_;
  ExecInput input_;
  OutgoingFrame outgoing_;
  Deadline deadline_;
  bool timed_out_ = false;
  std::optional<Failed> broken_;  // the host's frames make no sense any more
  std::optional<ExitStatus> status_;
};

bool is_set(const pollfd& poll, int events) {
  return (poll.revents & events) != 0;
}

Outcome<void> ExecSession::run() {
  send_started();
  while (!status_ || !drained() || !outgoing_.empty()) {
    const Polls polls = wait_for_something();
    if (host_gone(polls) || !outgoing_.flush(connection_)) {
      abandon();
      return {};
    }
    take_input(polls);
    for (size_t i = 0; i < outputs_.size(); i++) {
      if (polls[kFirstOutput + i].revents != 0) collect_output(outputs_[i]);
    }
    if (is_set(polls[kEnd], POLLIN)) note_end();
    if (deadline_.passed()) expire();
  }
  if (broken_) return fail(std::move(*broken_));
  send_exited();
  return {};
}

ExecSession::Polls ExecSession::wait_for_something() {
  Polls polls;
  for (auto& slot : polls) slot = {.fd = -1, .events = POLLIN, .revents = 0};
  polls[kHost] = {.fd = connection_, .events = POLLRDHUP, .revents = 0};
  if (!outgoing_.empty()) polls[kHost].events |= POLLOUT;
  if (reads_host()) polls[kHost].events |= POLLIN;
  if (input_.blocked() && !status_)
    polls[kStdin] = {.fd = input_.stdin_fd(), .events = POLLOUT, .revents = 0};
  if (!status_) polls[kEnd].fd = child_.pidfd.get();
  for (size_t i = 0; i < outputs_.size(); i++) {
    if (outgoing_.empty() && outputs_[i].open()) polls[kFirstOutput + i].fd = outputs_[i].fd.get();
  }
  poll(polls.data(), polls.size(), timeout_ms());
  return polls;
}

int ExecSession::timeout_ms() const {
  const int limit = deadline_.poll_timeout_ms();
  return reads_host() ? limit : earlier(limit, kLeaveCheckMs);
}

bool ExecSession::host_gone(const Polls& polls) const {
  if (is_set(polls[kHost], POLLRDHUP | POLLHUP | POLLERR)) return true;
  return !reads_host() && host_left(connection_);
}

void ExecSession::send_started() {
  microvm_agent_Started message = microvm_agent_Started_init_zero;
  message.pid = static_cast<uint32_t>(child_.pid);
  outgoing_.set_message(FrameType::started, microvm_agent_Started_fields, &message);
}

void ExecSession::take_input(const Polls& polls) {
  Outcome<void> taken;
  if (is_set(polls[kStdin], POLLOUT | POLLERR)) taken = input_.resume();
  if (taken && is_set(polls[kHost], POLLIN)) taken = input_.receive(connection_);
  if (taken) return;
  broken_ = taken.error();
  if (!status_) child_.kill_group(SIGKILL);
}

void ExecSession::collect_output(OutputStream& output) {
  if (!outgoing_.empty()) return;
  const auto space = outgoing_.body_space();
  const ssize_t count = read(output.fd.get(), space.data(), std::min(space.size(), output.left));
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count <= 0) {
    output.fd.reset();
    return;
  }
  if (output.left != SIZE_MAX) output.left -= static_cast<size_t>(count);
  outgoing_.seal(output.type, static_cast<size_t>(count));
  // Usually the stream has room, and this spares a turn through poll. A host that is gone shows
  // there, too.
  static_cast<void>(outgoing_.flush(connection_));
}

void ExecSession::expire() {
  deadline_ = Deadline::never();
  if (status_) return;
  timed_out_ = true;
  child_.kill_group(SIGKILL);
}

void ExecSession::note_end() {
  for (auto& output : outputs_) {
    if (output.fd) output.left = bytes_waiting(output.fd.get());
  }
  input_.stop_signals();
  status_ = reap(child_);
}

void ExecSession::abandon() {
  if (status_) return;
  child_.kill_group(SIGKILL);
  status_ = reap(child_);
}

void ExecSession::send_exited() {
  microvm_agent_Exited message = microvm_agent_Exited_init_zero;
  message.code = status_->code;
  message.signal = static_cast<uint32_t>(status_->signal);
  message.timed_out = timed_out_;
  outgoing_.set_message(FrameType::exited, microvm_agent_Exited_fields, &message);
  while (!outgoing_.empty()) {
    if (!outgoing_.flush(connection_)) return;
    pollfd host{.fd = connection_, .events = POLLOUT, .revents = 0};
    // A host that left shows in the next flush.
    if (!outgoing_.empty()) poll(&host, 1, kLeaveCheckMs);
  }
}

void send_not_started(Channel& channel, const SpawnFailure& failure) {
  microvm_agent_Exited message = microvm_agent_Exited_init_zero;
  message.code = failure.code;
  copy_text(message.message, failure.message);
  channel.send_message(FrameType::exited, microvm_agent_Exited_fields, &message);
}

}  // namespace

Outcome<void> run_exec(Guest& guest, Channel& channel, const FrameHeader& request) {
  const auto program = read_program(channel, request);
  if (!program) return fail(program.error());
  guest.freezer.wait_until_running();
  // It may have waited through a snapshot, and this be a clone whose host knows nothing of it.
  if (channel.host_gone()) return {};
  auto pipes = make_streams(program->stdin_open);
  if (!pipes) return fail(pipes.error());
  auto child = spawn(*program, guest.root_fd, guest.freezer.cgroup(), pipes->program.streams());
  if (!child) {
    send_not_started(channel, child.error());
    return {};
  }
  pipes->program = {};
  const Counted counted(guest.activity.programs);
  return ExecSession(channel.fd(), std::move(*child), std::move(pipes->agent), program->timeout_ms)
      .run();
}

}  // namespace microvm::agent
