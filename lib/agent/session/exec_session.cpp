#include "agent/session/exec_session.hpp"

#include <unistd.h>

#include <algorithm>
#include <csignal>

namespace microvm::agent {
namespace {

constexpr size_t kMaxChunkBytes = 16 * 1024;
// What a client that was sent output may still lose of it with its connection: the worker's window
// of a stream, and the frame that is on its way.
constexpr size_t kInFlightBytes = 128 * 1024 + wire::kDataChunk;

// Read at a time, of each stream.
constexpr size_t chunk_bytes(size_t ring_bytes) {
  return std::min(kMaxChunkBytes, ring_bytes / 4);
}

}  // namespace

size_t exec_ring_bytes(size_t running) {
  if (running < 32) return kExecRingBytes;
  return running < 128 ? kExecRingBytes / 4 : kExecRingBytes / 16;
}

// A client that keeps up loses nothing; in a full ring that is so over the loss of its connection,
// too.
ClientPace ExecSession::pace_for(size_t ring_bytes) {
  const size_t room = ring_bytes - 2 * chunk_bytes(ring_bytes);
  return {.hold_bytes = room > kInFlightBytes ? room - kInFlightBytes : room,
          .patience_ms = {},
          .input_bytes = wire::kDataChunk};
}

ExecSession::ExecSession(ExecSettings settings, base::Fd wake, size_t ring_bytes, Drain& drain)
    : Session(kExecRules, pace_for(ring_bytes), settings.id, std::move(wake),
              Ring(ring_bytes, Ring::Streams::both)),
      settings_(std::move(settings)),
      drain_(drain),
      outputs_{Output{{}, OutputStream::out}, Output{{}, OutputStream::err}},
      chunk_(chunk_bytes(ring_bytes)) {
  if (!settings_.keep) give_up_status();
  fill_info();
}

void ExecSession::start(const Program& program, int root, int cgroup, base::Fd connection) {
  command_ = command_line(program.arguments);
  auto pipes = make_streams(program.stdin_open);
  if (!pipes) {
    refuse_client(std::move(connection), pipes.error());
    return note_failed_start(126);
  }
  auto child = spawn(program, root, cgroup, pipes->program.streams());
  if (!child) {
    send_not_started(std::move(connection), child.error());
    return note_failed_start(child.error().code);
  }
  stdin_ = std::move(pipes->agent.in);
  outputs_[0].fd = std::move(pipes->agent.out);
  outputs_[1].fd = std::move(pipes->agent.err);
  if (program.timeout_ms != 0) deadline_ = Deadline::after_ms(program.timeout_ms);
  run(std::move(*child), {.connection = std::move(connection), .write = true, .position = 0});
}

void ExecSession::watch_program(std::vector<pollfd>& polls, bool read_more) {
  const bool reads = read_more && !waits_for_lost();
  for (const auto& output : outputs_)
    polls.push_back(
        {.fd = reads && output.open() ? output.fd.get() : -1, .events = POLLIN, .revents = 0});
  polls.push_back(
      {.fd = any_blocked() && running() ? stdin_.get() : -1, .events = POLLOUT, .revents = 0});
}

// Asked in each turn, for it watches the time.
bool ExecSession::waits_for_lost() {
  if (!lost_at_) return false;
  if (ring_.end() - *lost_at_ < pace_.hold_bytes) return false;
  if (lost_patience_.poll_timeout_ms() < 0) lost_patience_ = Deadline::after_ms(kLostPatienceMs);
  if (!lost_patience_.passed()) return true;
  lost_at_.reset();
  return false;
}

void ExecSession::serve_program(std::span<const pollfd> polls) {
  for (size_t i = 0; i < outputs_.size(); i++) {
    if (polls[i].revents != 0) collect_output(outputs_[i]);
  }
  if (!deadline_.passed()) return;
  deadline_ = Deadline::never();
  if (!running()) return;
  timed_out_ = true;
  child_.kill_group(SIGKILL);
}

int ExecSession::program_timeout_ms() const {
  const int waits = lost_at_ ? lost_patience_.poll_timeout_ms() : -1;
  return earlier(deadline_.poll_timeout_ms(), waits);
}

void ExecSession::collect_output(Output& output) {
  const auto space = std::span(chunk_).first(std::min(chunk_.size(), output.left));
  const ssize_t count = read(output.fd.get(), space.data(), space.size());
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count <= 0) {
    output.fd.reset();
    return;
  }
  ring_.append(space.first(static_cast<size_t>(count)), output.stream);
  output_bytes_ = ring_.end();
  if (output.left == SIZE_MAX) return;
  output.left -= static_cast<size_t>(count);
  if (output.left == 0) hand_over(output);
}

// To who reads for nobody, as long as something that was left running may write.
void ExecSession::hand_over(Output& output) {
  drain_.adopt(std::move(output.fd));
}

void ExecSession::leave_program() {
  stdin_.reset();
  for (auto& output : outputs_) {
    if (!output.fd) continue;
    output.left = bytes_waiting(output.fd.get());
    if (output.left == 0) hand_over(output);
  }
}

bool ExecSession::drained() const {
  return !outputs_[0].open() && !outputs_[1].open();
}

void ExecSession::begin_end() {
  child_.kill_group(SIGKILL);
}

Outcome<void> ExecSession::check(const Wish& wish) const {
  if (!wish.position || *wish.position <= ring_.end()) return {};
  return fail(name() + ": its output ends at " + std::to_string(ring_.end()) +
                  ", before position " + std::to_string(*wish.position) +
                  ": the microvm is an earlier one than was read from",
              EINVAL);
}

void ExecSession::welcome(SessionClient& client, const Wish&) {
  if (client.end_only()) {
    const microvm_agent_ExecInfo now = info();
    return client.greet(FrameType::exec_info, microvm_agent_ExecInfo_fields, &now);
  }
  lost_at_.reset();
  lost_patience_ = Deadline::never();
  microvm_agent_Started started = microvm_agent_Started_init_zero;
  started.pid = running() ? static_cast<uint32_t>(child_.pid) : 0;
  copy_text(started.id, id());
  started.position = client.position();
  started.writer = client.writer();
  started.pen = pen_;
  started.stdin_bytes = stdin_bytes_;
  started.stdin_ended = !stdin_.valid();
  client.greet(FrameType::started, microvm_agent_Started_fields, &started);
}

void ExecSession::on_gone(const SessionClient& client, Gone how) {
  if (client.end_only() || how == Gone::left) return;
  if (!settings_.keep) return drop_program();
  const bool last = std::none_of(clients_.begin(), clients_.end(),
                                 [](const SessionClient& other) { return !other.end_only(); });
  if (last && !settings_.detached) lost_at_ = client.position();
}

void ExecSession::drop_program() {
  if (running()) child_.kill_group(SIGKILL);
  give_up_status();
}

bool ExecSession::expects(FrameType type) const {
  return type == FrameType::signal || type == FrameType::stdin_end ||
         type == FrameType::exec_detach || type == FrameType::exec_drop;
}

Outcome<void> ExecSession::take_control(SessionClient& client, FrameType type,
                                        std::span<const std::byte> body) {
  if (type == FrameType::stdin_end) {
    if (client.writer()) stdin_.reset();
  } else if (type == FrameType::exec_detach) {
    client.leave();
  } else if (type == FrameType::exec_drop) {
    client.leave();
    drop_program();
  } else {
    const auto number = read_signal(body);
    if (!number) return fail(number.error());
    if (running()) child_.kill_group(*number);
  }
  return {};
}

size_t ExecSession::take_input(std::span<const std::byte> bytes) {
  size_t taken = 0;
  while (taken < bytes.size() && stdin_) {
    const ssize_t count = write(stdin_.get(), bytes.data() + taken, bytes.size() - taken);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) break;
    if (count < 0) {  // the program closed its stdin: the rest goes nowhere
      stdin_.reset();
      break;
    }
    taken += static_cast<size_t>(count);
  }
  if (!stdin_) taken = bytes.size();
  stdin_bytes_ += taken;
  return taken;
}

void ExecSession::fill_info() {
  microvm_agent_ExecInfo now = microvm_agent_ExecInfo_init_zero;
  copy_text(now.id, id());
  copy_text(now.command, command_);
  now.clients = static_cast<uint32_t>(clients_.size());
  now.written = any_writer();
  now.detached = settings_.detached;
  now.ended = !running();
  if (running()) {
    now.pid = static_cast<uint32_t>(child_.pid);
  } else {
    now.code = end_->status.code;
    now.signal = static_cast<uint32_t>(end_->status.signal);
    now.timed_out = end_->timed_out;
  }
  info_ = now;
}

microvm_agent_ExecInfo ExecSession::info() {
  const Lock lock(mutex_);
  microvm_agent_ExecInfo now = info_;
  now.output_bytes = output_bytes_;
  return now;
}

}  // namespace microvm::agent
