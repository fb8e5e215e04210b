#include "agent/session/session.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>

#include "agent/link/vsock.hpp"

namespace microvm::agent {
namespace {

std::atomic<uint64_t> ends_so_far{0};

}  // namespace

void refuse_client(base::Fd connection, const Failed& failure) {
  Channel(std::move(connection)).send_failure(failure);
}

void send_not_started(base::Fd connection, const SpawnFailure& failure) {
  microvm_agent_Exited exited = microvm_agent_Exited_init_zero;
  exited.code = failure.code;
  copy_text(exited.message, failure.message);
  Channel(std::move(connection))
      .send_message(FrameType::exited, microvm_agent_Exited_fields, &exited);
}

std::string command_line(const std::vector<std::string>& words) {
  std::string line;
  for (const auto& word : words) line += (line.empty() ? "" : " ") + word;
  return line;
}

Outcome<int> read_signal(std::span<const std::byte> body) {
  microvm_agent_SignalRequest request = microvm_agent_SignalRequest_init_zero;
  if (!decode_message(body, microvm_agent_SignalRequest_fields, &request) || request.signal == 0 ||
      request.signal > static_cast<uint32_t>(SIGRTMAX))
    return fail("no such signal: " + std::to_string(request.signal), EINVAL);
  return static_cast<int>(request.signal);
}

// What one client sends.
class Session::ClientSink final : public FrameSink {
 public:
  ClientSink(Session& session, SessionClient& client) : session_(session), client_(client) {}

  [[nodiscard]] bool expects(FrameType type) const override {
    return type == FrameType::pty_collect || session_.expects(type);
  }

  [[nodiscard]] Outcome<void> take_control(FrameType type,
                                           std::span<const std::byte> body) override {
    if (type != FrameType::pty_collect) return session_.take_control(client_, type, body);
    if (!session_.running()) client_.leave();
    const Lock lock(session_.mutex_);
    session_.collected_ = session_.ended_;
    return {};
  }

  // A reader's bytes go nowhere: they may have been under way when it lost the right to write.
  [[nodiscard]] size_t take_data(std::span<const std::byte> bytes) override {
    return client_.writer() ? session_.take_input(bytes) : bytes.size();
  }

 private:
  Session& session_;
  SessionClient& client_;
};

Session::Session(const SessionRules& rules, const ClientPace& pace, std::string id, base::Fd wake,
                 Ring ring)
    : rules_(rules),
      pace_(pace),
      id_(std::move(id)),
      ring_(std::move(ring)),
      wake_(std::move(wake)) {}

void Session::run(Child child, Wish first) {
  {
    const Lock lock(mutex_);
    child_ = std::move(child);
  }
  admit(std::move(first));
}

void Session::note_failed_start(int code) {
  end_ = ProgramEnd{.status = {.code = code, .signal = 0}};
  publish();
  const Lock lock(mutex_);
  collected_ = true;
}

void Session::serve() {
  while (serving()) {
    wait_for_something();
    receive_from_clients();
    take_wishes();
    serve_program(std::span(polls_).subspan(kFirstOfProgram, kProgramSlots));
    if (polls_[kEnd].revents != 0) note_end();
    hurry_end();
    send_to_clients();
  }
}

bool Session::serving() {
  const Lock lock(mutex_);
  if (!end_ || !drained()) return true;
  if (dismissed_) {
    clients_.clear();
    for (auto& wish : newcomers_)
      refuse_client(std::move(wish.connection), {ENOENT, name() + ": there is none any more"});
    newcomers_.clear();
  }
  if (!clients_.empty() || !newcomers_.empty()) return true;
  const size_t kept = std::min<uint64_t>(ring_.end() - ring_.begin(), rules_.ended_ring_bytes);
  ring_.shrink(std::max<size_t>(kept, 1));
  served_ = false;
  return false;
}

void Session::wait_for_something() {
  polls_.clear();
  polls_.push_back({.fd = wake_.get(), .events = POLLIN, .revents = 0});
  polls_.push_back({.fd = end_ ? -1 : child_.pidfd.get(), .events = POLLIN, .revents = 0});
  watch_program(polls_, has_room());
  for (const auto& client : clients_) polls_.push_back(client.interest());
  poll(polls_.data(), polls_.size(), timeout_ms());
  if (polls_[kWake].revents == 0) return;
  uint64_t wakes = 0;
  [[maybe_unused]] const ssize_t count = read(wake_.get(), &wakes, sizeof wakes);
}

// Each client is asked, for each watches its time.
bool Session::has_room() {
  bool room = true;
  for (auto& client : clients_) {
    if (client.holds_back(ring_.end())) room = false;
  }
  return room;
}

int Session::timeout_ms() const {
  int timeout = earlier(kill_at_.poll_timeout_ms(), program_timeout_ms());
  for (const auto& client : clients_) {
    timeout = earlier(timeout, client.patience().poll_timeout_ms());
    if (client.blocked()) timeout = earlier(timeout, kLeaveCheckMs);
  }
  return timeout;
}

void Session::take_wishes() {
  std::vector<Wish> newcomers;
  bool end_wanted = false;
  {
    const Lock lock(mutex_);
    newcomers.swap(newcomers_);
    end_wanted = std::exchange(end_wanted_, false);
  }
  for (auto& wish : newcomers) admit(std::move(wish));
  if (end_wanted && running()) begin_end();
}

// Before others come or are replaced: each has the slot of its place.
void Session::receive_from_clients() {
  for (size_t i = clients_.size(); i-- > 0;) {
    SessionClient& client = clients_[i];
    ClientSink sink(*this, client);
    Outcome<void> received;
    if (client.blocked()) received = client.resume(sink);
    if (received) received = client.receive(sink, polls_[kFirstClient + i].revents);
    if (client.leaves() || !received) drop(i, client.leaves() ? Gone::left : Gone::lost);
  }
}

void Session::send_to_clients() {
  const auto end = drained() ? end_ : std::nullopt;
  for (size_t i = clients_.size(); i-- > 0;) {
    if (!clients_[i].send(ring_, end)) drop(i, Gone::lost);
  }
  if (end) publish();
}

void Session::admit(Wish wish) {
  if (auto checked = check_wish(wish); !checked)
    return refuse_client(std::move(wish.connection), checked.error());
  const bool goes_on = goes_on_writing(wish);
  if (goes_on) replace_writer();
  if (wish.write && pen_is_taken()) take_pen();
  if (wish.write && !goes_on) pen_++;
  const auto kind = wish.end_only ? SessionClient::Kind::end_only
                    : wish.write  ? SessionClient::Kind::writer
                                  : SessionClient::Kind::reader;
  clients_.emplace_back(std::move(wish.connection), kind, start_position(wish), pace_);
  publish();
  welcome(clients_.back(), wish);
}

Outcome<void> Session::check_wish(const Wish& wish) const {
  const bool takes_a_place = !(goes_on_writing(wish) && any_writer());
  if (takes_a_place && clients_.size() >= rules_.max_clients)
    return fail(name() + " has " + std::to_string(rules_.max_clients) + " clients already", EAGAIN);
  if (wish.pen != 0 && wish.pen != pen_)
    return fail(name() + " was written by another client since", EBUSY);
  if (wish.write && pen_is_taken() && !wish.take_over && !goes_on_writing(wish))
    return fail(name() + " is being written by another client: attach to read, or take over",
                EBUSY);
  return check(wish);
}

bool Session::goes_on_writing(const Wish& wish) const {
  return wish.pen != 0 && wish.pen == pen_;
}

// Its connection was lost, and that does not show here yet. Nothing more of it counts: it comes
// with what we have not taken.
void Session::replace_writer() {
  std::erase_if(clients_, [](const SessionClient& client) { return client.writer(); });
}

void Session::take_pen() {
  for (auto& client : clients_) {
    if (client.writer()) client.demote();
  }
}

uint64_t Session::start_position(const Wish& wish) const {
  return wish.position ? std::min(*wish.position, ring_.end()) : ring_.clean_begin();
}

bool Session::any_blocked() const {
  return std::any_of(clients_.begin(), clients_.end(),
                     [](const SessionClient& client) { return client.blocked(); });
}

bool Session::any_writer() const {
  return std::any_of(clients_.begin(), clients_.end(),
                     [](const SessionClient& client) { return client.writer(); });
}

void Session::drop(size_t index, Gone how) {
  const SessionClient gone = std::move(clients_[index]);
  clients_.erase(clients_.begin() + static_cast<ptrdiff_t>(index));
  on_gone(gone, how);
  publish();
}

// The pid is not given to anybody else before it is reaped, so who signals has the lock, too.
void Session::note_end() {
  leave_program();
  {
    const Lock lock(mutex_);
    end_ = ProgramEnd{.status = reap(child_), .timed_out = timed_out()};
    ended_ = true;
    end_number_ = ++ends_so_far;
    collected_ = status_unwanted_;
  }
  kill_at_ = Deadline::never();
  publish();
}

// It did not heed what came before.
void Session::hurry_end() {
  if (!running() || !kill_at_.passed()) return;
  signal_program(SIGKILL);
  kill_at_ = Deadline::never();
}

void Session::publish() {
  const Lock lock(mutex_);
  ended_ = end_.has_value();
  in_use_ = std::any_of(clients_.begin(), clients_.end(),
                        [](const SessionClient& client) { return !client.told_exit(); });
  fill_info();
  changed_.notify_all();
}

void Session::wake() const {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t count = write(wake_.get(), &one, sizeof one);
}

bool Session::attach(Wish wish) {
  const Lock lock(mutex_);
  newcomers_.push_back(std::move(wish));
  wake();
  return !std::exchange(served_, true);
}

bool Session::end_program(int64_t timeout_ms) {
  const auto deadline = Deadline::after_ms(timeout_ms);
  const Lock lock(mutex_);
  end_wanted_ = true;
  wake();
  while (!ended_ && !deadline.passed()) changed_.wait_until(mutex_, deadline);
  return ended_;
}

Outcome<void> Session::signal(int signal) {
  const Lock lock(mutex_);
  if (ended_) return fail(name() + " has ended", EBUSY);
  if (child_.pid == 0) return fail(name() + " is just being started", EAGAIN);
  child_.kill_group(signal);
  return {};
}

void Session::give_up_status() {
  const Lock lock(mutex_);
  status_unwanted_ = true;
  if (ended_) collected_ = true;
}

void Session::dismiss() {
  const Lock lock(mutex_);
  dismissed_ = true;
  wake();
}

bool Session::ended() {
  const Lock lock(mutex_);
  return ended_;
}

uint64_t Session::end_number() {
  const Lock lock(mutex_);
  return end_number_;
}

bool Session::collected() {
  const Lock lock(mutex_);
  return collected_;
}

bool Session::in_use() {
  const Lock lock(mutex_);
  return in_use_;
}

size_t Session::kept_bytes() {
  const Lock lock(mutex_);
  return ended_ && !served_ ? ring_.capacity() : 0;
}

void Session::keep_less(size_t ring_bytes) {
  const Lock lock(mutex_);
  if (ended_ && !served_) ring_.shrink(ring_bytes);
}

}  // namespace microvm::agent
