#include "agent/terminal/pty_session.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "agent/link/vsock.hpp"
#include "agent/program/exec_input.hpp"

namespace microvm::agent {
namespace {

enum Slot : size_t { kWake, kTerminal, kEnd, kFirstClient };

constexpr size_t kChunkBytes = 16 * 1024;
// What a pty can hold when its program has ended; more comes from something it left running.
constexpr size_t kRestBytes = 64 * 1024;
static_assert(kHoldBytes + kChunkBytes + kRestBytes < kPtyRingBytes,
              "who keeps up with the program loses nothing at its end");
constexpr int64_t kQuietMs = 200;

// The connection is new and the reply small, so this does not block.
void refuse(PtyWish wish, Failed failure) {
  Channel(std::move(wish.connection)).send_failure(failure);
}

Failed pen_taken(const std::string& id) {
  return {EBUSY, "terminal \"" + id +
                     "\" is being written by another client: attach to read, or take over"};
}

Failed too_many_clients(const std::string& id) {
  return {EAGAIN,
          "terminal \"" + id + "\" has " + std::to_string(kMaxPtyClients) + " clients already"};
}

void send_not_started(base::Fd connection, const SpawnFailure& failure) {
  microvm_agent_Exited exited = microvm_agent_Exited_init_zero;
  exited.code = failure.code;
  copy_text(exited.message, failure.message);
  Channel(std::move(connection))
      .send_message(FrameType::exited, microvm_agent_Exited_fields, &exited);
}

std::string join(const std::vector<std::string>& words) {
  std::string line;
  for (const auto& word : words) line += (line.empty() ? "" : " ") + word;
  return line;
}

}  // namespace

// What one client sends.
class PtySession::ClientSink final : public FrameSink {
 public:
  ClientSink(PtySession& session, const PtyClient& client) : session_(session), client_(client) {}

  [[nodiscard]] bool expects(FrameType type) const override {
    return type == FrameType::signal || type == FrameType::pty_resize ||
           type == FrameType::pty_collect;
  }

  [[nodiscard]] Outcome<void> take_control(FrameType type,
                                           std::span<const std::byte> body) override {
    if (type == FrameType::signal) return signal(body);
    if (type == FrameType::pty_resize) return resize(body);
    const Lock lock(session_.mutex_);
    session_.collected_ = session_.status_.has_value();
    return {};
  }

  // A reader's bytes go nowhere: they may have been under way when it lost the right to write.
  [[nodiscard]] size_t take_data(std::span<const std::byte> bytes) override {
    if (!client_.writer() || !session_.terminal_.is_open()) return bytes.size();
    return session_.terminal_.write(bytes);
  }

 private:
  Outcome<void> signal(std::span<const std::byte> body) const {
    const auto number = read_signal(body);
    if (!number) return fail(number.error());
    if (client_.writer() && !session_.status_) session_.terminal_.signal_foreground(*number);
    return {};
  }

  Outcome<void> resize(std::span<const std::byte> body) const {
    microvm_agent_PtySize size = microvm_agent_PtySize_init_zero;
    if (!decode_message(body, microvm_agent_PtySize_fields, &size))
      return fail("the terminal's size is not readable", EPROTO);
    if (client_.writer()) session_.resize(TerminalSize::from_wire(size.rows, size.columns));
    return {};
  }

  PtySession& session_;
  const PtyClient& client_;
};

PtySession::PtySession(PtySettings settings, base::Fd wake)
    : settings_(std::move(settings)), wake_(std::move(wake)), chunk_(kChunkBytes) {}

void PtySession::start(const Program& program, int root, int cgroup, base::Fd connection) {
  command_ = join(program.arguments);
  size_ = settings_.size;
  base::Fd end;
  auto terminal = PtyTerminal::open(size_, end);
  if (!terminal) {
    refuse({.connection = std::move(connection)}, terminal.error());
    return note_failed_start(126);
  }
  const int fd = end.get();
  auto child = spawn(program, root, cgroup, {.in = fd, .out = fd, .err = fd, .terminal = true});
  if (!child) {
    send_not_started(std::move(connection), child.error());
    return note_failed_start(child.error().code);
  }
  terminal_ = std::move(*terminal);
  child_ = std::move(*child);
  admit({.connection = std::move(connection), .write = true, .position = 0});
}

void PtySession::note_failed_start(int code) {
  status_ = ExitStatus{.code = code, .signal = 0};
  publish();
  const Lock lock(mutex_);
  collected_ = true;
}

void PtySession::serve() {
  while (serving()) {
    wait_for_something();
    take_wishes();
    receive_from_clients();
    if ((polls_[kTerminal].revents & ~POLLOUT) != 0) collect_output(kChunkBytes);
    if (polls_[kEnd].revents != 0) note_end();
    hurry_end();
    send_to_clients();
  }
}

bool PtySession::serving() {
  const Lock lock(mutex_);
  if (!status_) return true;
  if (dismissed_) {
    clients_.clear();
    newcomers_.clear();
  }
  if (!clients_.empty() || !newcomers_.empty()) return true;
  ring_.shrink(kPtyEndedRingBytes);
  served_ = false;
  return false;
}

void PtySession::wait_for_something() {
  polls_.clear();
  polls_.push_back({.fd = wake_.get(), .events = POLLIN, .revents = 0});
  polls_.push_back(terminal_interest());
  polls_.push_back({.fd = status_ ? -1 : child_.pidfd.get(), .events = POLLIN, .revents = 0});
  for (const auto& client : clients_) polls_.push_back(client.interest());
  poll(polls_.data(), polls_.size(), timeout_ms());
  if (polls_[kWake].revents == 0) return;
  uint64_t wakes = 0;
  [[maybe_unused]] const ssize_t count = read(wake_.get(), &wakes, sizeof wakes);
}

pollfd PtySession::terminal_interest() {
  bool read_more = true;
  int events = 0;
  for (auto& client : clients_) {
    if (client.holds_back(ring_.end())) read_more = false;
    if (client.blocked()) events = POLLOUT;
  }
  if (read_more) events |= POLLIN;
  if (quiet_until_.passed()) quiet_until_ = Deadline::never();
  const bool quiet = quiet_until_.poll_timeout_ms() >= 0;
  // A terminal that hung up would wake poll again and again although nothing is wanted from it.
  const bool unwanted = !terminal_.is_open() || events == 0 || quiet;
  return {.fd = unwanted ? -1 : terminal_.fd(), .events = static_cast<short>(events), .revents = 0};
}

int PtySession::timeout_ms() const {
  int timeout = earlier(kill_at_.poll_timeout_ms(), quiet_until_.poll_timeout_ms());
  for (const auto& client : clients_) {
    timeout = earlier(timeout, client.patience().poll_timeout_ms());
    if (client.blocked()) timeout = earlier(timeout, kLeaveCheckMs);
  }
  return timeout;
}

void PtySession::take_wishes() {
  std::vector<PtyWish> newcomers;
  bool hang_up = false;
  {
    const Lock lock(mutex_);
    newcomers.swap(newcomers_);
    hang_up = std::exchange(hang_up_wanted_, false);
  }
  for (auto& wish : newcomers) admit(std::move(wish));
  if (!hang_up || status_) return;
  signal_program(SIGHUP);
  signal_program(SIGCONT);
  kill_at_ = Deadline::after_ms(kHangUpMs);
}

// Those that were just admitted have no slot yet.
void PtySession::receive_from_clients() {
  for (size_t i = polls_.size() - kFirstClient; i-- > 0;) {
    PtyClient& client = clients_[i];
    ClientSink sink(*this, client);
    Outcome<void> received;
    if (client.blocked()) received = client.resume(sink);
    if (received) received = client.receive(sink, polls_[kFirstClient + i].revents);
    if (!received) drop(i);
  }
}

void PtySession::send_to_clients() {
  for (size_t i = clients_.size(); i-- > 0;) {
    if (!clients_[i].send(ring_, status_)) drop(i);
  }
}

void PtySession::admit(PtyWish wish) {
  if (clients_.size() == kMaxPtyClients) return refuse(std::move(wish), too_many_clients(id()));
  if (wish.write && pen_is_taken()) {
    if (!wish.take_over) return refuse(std::move(wish), pen_taken(id()));
    take_pen();
  }
  const bool redraw = wish.write && !wish.position && !status_;
  const uint64_t position = start_position(wish);
  clients_.emplace_back(std::move(wish.connection), wish.write, position);
  if (wish.write) resize(wish.size);
  publish();
  clients_.back().greet(describe(), ring_);
  // The recent output may not be the whole screen of a full-screen program.
  if (redraw) terminal_.signal_foreground(SIGWINCH);
}

void PtySession::take_pen() {
  for (auto& client : clients_) {
    if (client.writer()) client.demote();
  }
}

microvm_agent_PtyOpened PtySession::describe() const {
  microvm_agent_PtyOpened opened = microvm_agent_PtyOpened_init_zero;
  copy_text(opened.id, settings_.id);
  opened.pid = status_ ? 0 : static_cast<uint32_t>(child_.pid);
  opened.rows = size_.rows;
  opened.columns = size_.columns;
  return opened;
}

bool PtySession::pen_is_taken() const {
  return !settings_.shared_writing && !status_ &&
         std::any_of(clients_.begin(), clients_.end(),
                     [](const PtyClient& client) { return client.writer(); });
}

// A client that knows less than is kept is told what it lost.
uint64_t PtySession::start_position(const PtyWish& wish) const {
  return wish.position ? std::min(*wish.position, ring_.end()) : ring_.clean_begin();
}

void PtySession::drop(size_t index) {
  clients_.erase(clients_.begin() + static_cast<ptrdiff_t>(index));
  publish();
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

void PtySession::note_end() {
  collect_output(kRestBytes);
  terminal_.close();
  status_ = reap(child_);
  kill_at_ = quiet_until_ = Deadline::never();
  publish();
}

// It did not heed the SIGHUP.
void PtySession::hurry_end() {
  if (status_ || !kill_at_.passed()) return;
  signal_program(SIGKILL);
  kill_at_ = Deadline::never();
}

void PtySession::signal_program(int signal) const {
  terminal_.signal_foreground(signal);
  child_.kill_group(signal);
}

void PtySession::resize(TerminalSize size) {
  if (!size.said() || status_) return;
  size_ = size;
  terminal_.resize(size);
  publish();
}

void PtySession::publish() {
  microvm_agent_PtyInfo now = microvm_agent_PtyInfo_init_zero;
  copy_text(now.id, settings_.id);
  copy_text(now.command, command_);
  now.rows = size_.rows;
  now.columns = size_.columns;
  now.shared_writing = settings_.shared_writing;
  now.clients = static_cast<uint32_t>(clients_.size());
  for (const auto& client : clients_) now.writers += client.writer() ? 1 : 0;
  now.ended = status_.has_value();
  now.pid = status_ ? 0 : static_cast<uint32_t>(child_.pid);
  now.code = status_ ? status_->code : 0;
  now.signal = status_ ? static_cast<uint32_t>(status_->signal) : 0;
  const Lock lock(mutex_);
  info_ = now;
  changed_.notify_all();
}

void PtySession::wake() const {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t count = write(wake_.get(), &one, sizeof one);
}

bool PtySession::attach(PtyWish wish) {
  const Lock lock(mutex_);
  newcomers_.push_back(std::move(wish));
  wake();
  return !std::exchange(served_, true);
}

bool PtySession::hang_up(int64_t timeout_ms) {
  const auto deadline = Deadline::after_ms(timeout_ms);
  const Lock lock(mutex_);
  hang_up_wanted_ = true;
  wake();
  while (!info_.ended && !deadline.passed()) changed_.wait_until(mutex_, deadline);
  return info_.ended;
}

void PtySession::dismiss() {
  const Lock lock(mutex_);
  dismissed_ = true;
  wake();
}

bool PtySession::ended() {
  const Lock lock(mutex_);
  return info_.ended;
}

bool PtySession::collected() {
  const Lock lock(mutex_);
  return collected_;
}

microvm_agent_PtyInfo PtySession::info() {
  const Lock lock(mutex_);
  return info_;
}

}  // namespace microvm::agent
