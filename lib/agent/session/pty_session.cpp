#include "agent/session/pty_session.hpp"

#include <algorithm>
#include <csignal>

namespace microvm::agent {
namespace {

constexpr size_t kChunkBytes = 16 * 1024;
// What a pty can hold when its program has ended; more comes from something it left running.
constexpr size_t kRestBytes = 64 * 1024;
static_assert(kPtyPace.hold_bytes + kChunkBytes + kRestBytes < kPtyRingBytes,
              "who keeps up with the program loses nothing at its end");
constexpr int64_t kQuietMs = 200;

}  // namespace

PtySession::PtySession(PtySettings settings, base::Fd wake)
    : Session(kPtyRules, kPtyPace, std::move(settings.id), std::move(wake), Ring(kPtyRingBytes)),
      shared_writing_(settings.shared_writing),
      size_(settings.size),
      chunk_(kChunkBytes) {
  one_writer_ = !shared_writing_;
  fill_info();
}

void PtySession::start(const Program& program, int root, int cgroup, base::Fd connection) {
  command_ = command_line(program.arguments);
  base::Fd end;
  auto terminal = PtyTerminal::open(size_, end);
  if (!terminal) {
    refuse_client(std::move(connection), terminal.error());
    return note_failed_start(126);
  }
  const int fd = end.get();
  auto child = spawn(program, root, cgroup, {.in = fd, .out = fd, .err = fd, .terminal = true});
  if (!child) {
    send_not_started(std::move(connection), child.error());
    return note_failed_start(child.error().code);
  }
  terminal_ = std::move(*terminal);
  run(std::move(*child), {.connection = std::move(connection), .write = true, .position = 0});
}

void PtySession::watch_program(std::vector<pollfd>& polls, bool read_more) {
  int events = read_more ? POLLIN : 0;
  if (any_blocked()) events |= POLLOUT;
  if (quiet_until_.passed()) quiet_until_ = Deadline::never();
  const bool quiet = quiet_until_.poll_timeout_ms() >= 0;
  // A terminal that hung up would wake poll again and again although nothing is wanted from it.
  const bool unwanted = !terminal_.is_open() || events == 0 || quiet;
  polls.push_back(
      {.fd = unwanted ? -1 : terminal_.fd(), .events = static_cast<short>(events), .revents = 0});
  polls.resize(polls.size() + kProgramSlots - 1, {.fd = -1, .events = 0, .revents = 0});
}

void PtySession::serve_program(std::span<const pollfd> polls) {
  if ((polls[0].revents & ~POLLOUT) != 0) collect_output(kChunkBytes);
}

void PtySession::collect_output(size_t limit) {
  while (limit > 0) {
    const auto space = std::span(chunk_).first(std::min(limit, chunk_.size()));
    const ssize_t count = terminal_.read(space);
    if (count < 0) quiet_until_ = Deadline::after_ms(kQuietMs);
    if (count <= 0) return;
    ring_.append(space.first(static_cast<size_t>(count)));
    limit -= static_cast<size_t>(count);
  }
}

void PtySession::leave_program() {
  collect_output(kRestBytes);
  terminal_.close();
  quiet_until_ = Deadline::never();
}

void PtySession::begin_end() {
  signal_program(SIGHUP);
  signal_program(SIGCONT);
  kill_after_ms(kHangUpMs);
}

void PtySession::signal_program(int signal) {
  terminal_.signal_foreground(signal);
  child_.kill_group(signal);
}

void PtySession::welcome(SessionClient& client, const Wish& wish) {
  if (wish.write) resize(wish.size);
  microvm_agent_PtyOpened opened = microvm_agent_PtyOpened_init_zero;
  copy_text(opened.id, id());
  opened.pid = running() ? static_cast<uint32_t>(child_.pid) : 0;
  opened.writer = client.writer();
  opened.rows = size_.rows;
  opened.columns = size_.columns;
  opened.position = client.position();
  opened.replay_bytes = ring_.end() - client.position();
  client.greet(FrameType::pty_opened, microvm_agent_PtyOpened_fields, &opened);
  // The recent output may not be the whole screen of a full-screen program.
  if (wish.write && !wish.position && running()) terminal_.signal_foreground(SIGWINCH);
}

bool PtySession::expects(FrameType type) const {
  return type == FrameType::signal || type == FrameType::pty_resize;
}

Outcome<void> PtySession::take_control(SessionClient& client, FrameType type,
                                       std::span<const std::byte> body) {
  if (type == FrameType::signal) {
    const auto number = read_signal(body);
    if (!number) return fail(number.error());
    if (client.writer() && running()) terminal_.signal_foreground(*number);
    return {};
  }
  microvm_agent_PtySize size = microvm_agent_PtySize_init_zero;
  if (!decode_message(body, microvm_agent_PtySize_fields, &size))
    return fail("the terminal's size is not readable", EPROTO);
  if (client.writer()) resize(TerminalSize::from_wire(size.rows, size.columns));
  return {};
}

size_t PtySession::take_input(std::span<const std::byte> bytes) {
  return terminal_.is_open() ? terminal_.write(bytes) : bytes.size();
}

void PtySession::resize(TerminalSize size) {
  if (!size.said() || !running()) return;
  size_ = size;
  terminal_.resize(size);
  publish();
}

void PtySession::fill_info() {
  microvm_agent_PtyInfo now = microvm_agent_PtyInfo_init_zero;
  copy_text(now.id, id());
  copy_text(now.command, command_);
  now.rows = size_.rows;
  now.columns = size_.columns;
  now.shared_writing = shared_writing_;
  now.clients = static_cast<uint32_t>(clients_.size());
  for (const auto& client : clients_) now.writers += client.writer() ? 1 : 0;
  now.ended = !running();
  now.pid = running() ? static_cast<uint32_t>(child_.pid) : 0;
  now.code = running() ? 0 : end_->status.code;
  now.signal = running() ? 0 : static_cast<uint32_t>(end_->status.signal);
  info_ = now;
}

microvm_agent_PtyInfo PtySession::info() {
  const Lock lock(mutex_);
  return info_;
}

}  // namespace microvm::agent
