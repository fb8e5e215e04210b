#include "host/worker/control_client.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "host/saved/how_it_ended.hpp"
#include "sys/socket.hpp"

namespace microvm::host {
namespace {

constexpr int kMessagesPerWake = 64;  // then the other sockets have their turn
// Streams of a guest break a moment before its worker reports why.
constexpr std::chrono::milliseconds kExplainPatience{300};

// To a worker whose socket is full.
constexpr std::chrono::milliseconds kSendAgain{2};

// What is asked for at a start is used soon, or not.
constexpr std::chrono::seconds kAheadLife{3};

base::Fd make_event() {
  return base::Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

void raise(const base::Fd& event) {
  const uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(event.get(), &one, sizeof one);
}

}  // namespace

// Filled by the reactor's thread before `done` is raised, read by the caller after. One that was
// asked without waiting has a handler instead.
struct ControlClient::Call {
  base::Fd done;
  Reply reply;
  bool answered = false;
  ReplyHandler handler;
  std::string what;
};

ControlClient::ControlClient(Reactor& reactor, base::Fd socket, AgentHandler on_agent,
                             EndHandler on_end, NetworkHandler on_network)
    : reactor_(reactor),
      socket_(std::move(socket)),
      ended_event_(make_event()),
      on_agent_(std::move(on_agent)),
      on_end_(std::move(on_end)),
      on_network_(std::move(on_network)) {}

ControlClient::~ControlClient() = default;

std::shared_ptr<ControlClient> ControlClient::start(Reactor& reactor, base::Fd socket,
                                                    AgentHandler on_agent, EndHandler on_end,
                                                    Peer peer, Ahead ahead,
                                                    NetworkHandler on_network) {
  std::shared_ptr<ControlClient> client(new ControlClient(
      reactor, std::move(socket), std::move(on_agent), std::move(on_end), std::move(on_network)));
  if (peer == Peer::unknown) {
    client->greet();
  } else {
    client->version_ = wire::kControlVersion;
  }
  if (ahead == Ahead::asked) client->expect_ahead();
  reactor.post([client] { client->watch(); });
  return client;
}

// Before anybody else has the client, and before it reads.
void ControlClient::expect_ahead() {
  ahead_ = std::make_shared<Call>();
  ahead_->done = make_event();
  calls_[kAheadId] = ahead_;
  reactor_.post([self = shared_from_this()] {
    self->reactor_.loop().after(kAheadLife, [weak = self->weak_from_this()] {
      if (const auto client = weak.lock()) client->drop_ahead();
    });
  });
}

std::shared_ptr<ControlClient::Call> ControlClient::claim_ahead() {
  const std::scoped_lock lock(mutex_);
  return std::exchange(ahead_, nullptr);
}

Result<base::Fd> ControlClient::take_ahead(const Limits& limits, std::string_view what) {
  const auto ahead = claim_ahead();
  if (!ahead || !ahead->done) return base::Fd();
  if (auto ok = limits.wait(ahead->done.get(), POLLIN, what); !ok) return base::fail(ok.error());
  // Why there is none is said to who asks for one.
  if (!ahead->answered || ahead->reply.fds.size() != 1) return base::Fd();
  return std::move(ahead->reply.fds[0]);
}

// Before anybody else has the client. A peer that is gone shows in watch().
void ControlClient::greet() {
  greeting_ = std::make_shared<Call>();
  greeting_->done = make_event();
  calls_[wire::kGreetingId] = greeting_;
  if (const auto bytes = wire::encode(wire::greeting())) {
    static_cast<void>(sys::send_message(socket_.get(), *bytes));
  }
}

void ControlClient::watch() {
  watch_ = reactor_.loop().watch(socket_.get(), POLLIN,
                                 [self = shared_from_this()](uint32_t) { self->on_readable(); });
}

void ControlClient::on_readable() {
  for (int i = 0; i < kMessagesPerWake; ++i) {
    auto received = try_receive_control(socket_.get());
    if (!received) return finish(received.error());
    if (received->state == Received::State::would_block) return;
    if (received->state == Received::State::end) return finish(std::nullopt);
    dispatch(std::move(*received));
  }
}

void ControlClient::dispatch(Received received) {
  const uint32_t id = received.envelope.request_id;
  if (id != 0) return on_reply(id, std::move(received));
  if (auto* exit = std::get_if<wire::ExitEvent>(&received.envelope.message)) {
    {
      const std::scoped_lock lock(mutex_);
      exit_ = std::move(*exit);
    }
    tell_end();
  } else if (received.out_of_fds) {
    finish(out_of_fds_error("take the agent's connection"));
  } else if (auto* failed = std::get_if<wire::DiskErrorEvent>(&received.envelope.message)) {
    const std::scoped_lock lock(mutex_);
    if (!disk_error_) disk_error_ = worker_error({failed->code, std::move(failed->message)});
  } else if (auto* network = std::get_if<wire::NetworkEvent>(&received.envelope.message)) {
    if (on_network_) on_network_(std::move(*network));
  } else if (std::holds_alternative<wire::AgentEvent>(received.envelope.message) &&
             received.fds.size() == 1 && on_agent_) {
    on_agent_(std::move(received.fds[0]));
  }
}

void ControlClient::on_reply(uint32_t request_id, Received received) {
  std::shared_ptr<Call> call;
  {
    const std::scoped_lock lock(mutex_);
    const auto found = calls_.find(request_id);
    if (found == calls_.end()) return;  // its caller gave up
    call = std::move(found->second);
    calls_.erase(found);
  }
  if (call == greeting_) return on_greeted(received.envelope.message);
  if (received.out_of_fds) {
    // The one who asked goes without; the connection is everybody's.
    const auto error = out_of_fds_error(call->what);
    received.envelope.message = wire::ErrorReply{static_cast<uint32_t>(error.code), error.message};
  }
  if (call->handler) {
    if (const auto* error = std::get_if<wire::ErrorReply>(&received.envelope.message)) {
      return call->handler(base::fail(worker_error(*error)));
    }
    return call->handler(Reply{std::move(received.envelope.message), std::move(received.fds)});
  }
  call->reply = {std::move(received.envelope.message), std::move(received.fds)};
  call->answered = true;
  raise(call->done);
}

void ControlClient::on_greeted(const wire::Message& answer) {
  const auto* speaks = std::get_if<wire::VersionsReply>(&answer);
  const wire::VersionsReply versions = speaks != nullptr ? *speaks : wire::VersionsReply{1, 1};
  if (versions.newest < wire::kOldestControlVersion || versions.oldest > wire::kControlVersion) {
    finish(Error{ErrorCode::unsupported,
                 "the worker speaks versions " + std::to_string(versions.oldest) + " to " +
                     std::to_string(versions.newest) + " of the control wire, this library " +
                     std::to_string(wire::kOldestControlVersion) + " to " +
                     std::to_string(wire::kControlVersion) +
                     ": use the library that started it, or a newer one"});
  } else {
    const std::scoped_lock lock(mutex_);
    version_ = std::min(versions.newest, wire::kControlVersion);
  }
  greeting_->answered = true;
  raise(greeting_->done);
  send_outgoing();
}

std::optional<uint16_t> ControlClient::known_version() const {
  const std::scoped_lock lock(mutex_);
  return version_;
}

Result<uint16_t> ControlClient::version(const Limits& limits, std::string_view what) {
  if (const auto version = known_version()) return *version;
  if (!greeting_->done) return base::fail_errno(std::string(what) + ": eventfd", EMFILE);
  if (auto ok = limits.wait(greeting_->done.get(), POLLIN, what); !ok) {
    return base::fail(ok.error());
  }
  if (const auto version = known_version()) return *version;
  return base::fail(explain(what));
}

void ControlClient::finish(std::optional<Error> broken) {
  if (watch_) reactor_.loop().unwatch(*std::exchange(watch_, std::nullopt));
  on_agent_ = nullptr;
  std::map<uint32_t, std::shared_ptr<Call>> calls;
  {
    const std::scoped_lock lock(mutex_);
    if (ended_) return;
    ended_ = true;
    broken_ = std::move(broken);
    calls.swap(calls_);
  }
  ::shutdown(socket_.get(), SHUT_RDWR);
  raise(ended_event_);
  outgoing_.clear();
  for (const auto& [id, call] : calls) {
    if (call->handler) {
      call->handler(base::fail(explain(call->what)));  // which does not wait any more
    } else {
      raise(call->done);
    }
  }
  tell_end();
}

void ControlClient::tell_end() {
  if (const auto tell = std::exchange(on_end_, nullptr)) tell();
}

void ControlClient::close() {
  reactor_.post([self = shared_from_this()] {
    self->on_end_ = nullptr;
    self->finish(std::nullopt);
  });
}

Result<uint32_t> ControlClient::add_call(const std::shared_ptr<Call>& call, std::string_view what) {
  if ((!call->done && !call->handler) || !ended_event_)
    return base::fail_errno(std::string(what) + ": eventfd", EMFILE);
  const std::scoped_lock lock(mutex_);
  if (ended_) return base::fail(end_error(what));
  if (++last_id_ == wire::kGreetingId) last_id_ = 1;  // after it comes 0, which marks events
  calls_[last_id_] = call;
  return last_id_;
}

Result<ControlClient::Reply> ControlClient::call(wire::Message request, std::span<const int> fds,
                                                 const Limits& limits, std::string_view what) {
  const auto version = this->version(limits, what);
  if (!version) return base::fail(version.error());
  const auto call = std::make_shared<Call>();
  call->what = what;
  call->done = make_event();
  const auto id = add_call(call, what);
  if (!id) return base::fail(id.error());
  auto done = send_control(socket_.get(), {*id, std::move(request), *version}, fds, limits, what);
  if (done) done = limits.wait(call->done.get(), POLLIN, what);
  if (!done) {
    {
      const std::scoped_lock lock(mutex_);
      calls_.erase(*id);
    }
    return base::fail(done.error().code == ErrorCode::vm_gone ? explain(what) : done.error());
  }
  if (!call->answered) return base::fail(explain(what));
  if (const auto* error = std::get_if<wire::ErrorReply>(&call->reply.message)) {
    return base::fail(worker_error(*error));
  }
  return std::move(call->reply);
}

void ControlClient::ask(wire::Message request, std::string what, ReplyHandler done) {
  const auto call = std::make_shared<Call>();
  call->what = std::move(what);
  call->handler = std::move(done);
  const auto id = add_call(call, call->what);
  if (!id) return call->handler(base::fail(id.error()));
  outgoing_.push_back({*id, std::move(request)});
  send_outgoing();
}

// A worker that is gone is found so by the watch, which tells all callers. Before the worker has
// said what version it speaks nothing can be sent: on_greeted() comes back here.
void ControlClient::send_outgoing() {
  const auto version = known_version();
  if (!version) return;
  while (!sends_later_ && !outgoing_.empty()) {
    wire::Envelope& next = outgoing_.front();
    next.version = *version;
    const auto bytes = wire::encode(next);
    if (!bytes) {
      refuse(next.request_id, bytes.error());
      outgoing_.pop_front();
      continue;
    }
    const auto sent = sys::send_message(socket_.get(), *bytes, {});
    if (sent || sent.error().code != ErrorCode::busy) {
      outgoing_.pop_front();
      continue;
    }
    sends_later_ = true;
    reactor_.loop().after(kSendAgain, [self = shared_from_this()] {
      self->sends_later_ = false;
      self->send_outgoing();
    });
  }
}

// The version of the worker has no such message.
void ControlClient::refuse(uint32_t request_id, const Error& why) {
  std::shared_ptr<Call> call;
  {
    const std::scoped_lock lock(mutex_);
    const auto found = calls_.find(request_id);
    if (found == calls_.end()) return;
    call = std::move(found->second);
    calls_.erase(found);
  }
  call->handler(base::fail(Error{why.code, call->what + ": " + why.message}));
}

Result<base::Fd> ControlClient::call_for_stream(wire::Message request, const Limits& limits,
                                                std::string_view what) {
  auto reply = call(std::move(request), {}, limits, what);
  if (!reply) return base::fail(reply.error());
  if (!std::holds_alternative<wire::OkReply>(reply->message) || reply->fds.size() != 1) {
    return base::fail(ErrorCode::protocol, std::string(what) + ": the worker sent no stream");
  }
  return std::move(reply->fds[0]);
}

bool ControlClient::ended() const {
  const std::scoped_lock lock(mutex_);
  return ended_;
}

bool ControlClient::hung_up() const {
  if (ended()) return true;
  pollfd socket{socket_.get(), 0, 0};
  return ::poll(&socket, 1, 0) > 0 && (socket.revents & POLLHUP) != 0;
}

bool ControlClient::ending() const {
  return exit_event().has_value() || hung_up();
}

Result<void> ControlClient::wait_ended(const Limits& limits, std::string_view what) const {
  if (ended()) return {};
  return limits.wait(ended_event_.get(), POLLIN, what);
}

std::optional<wire::ExitEvent> ControlClient::exit_event() const {
  const std::scoped_lock lock(mutex_);
  return exit_;
}

std::optional<Error> ControlClient::disk_error() const {
  const std::scoped_lock lock(mutex_);
  return disk_error_;
}

// With mutex_ held.
Error ControlClient::end_error(std::string_view what) const {
  if (exit_) return exit_error(what, *exit_);
  if (broken_) return {broken_->code, std::string(what) + ": " + broken_->message};
  return {ErrorCode::vm_gone, std::string(what) + ": the microvm's worker was killed"};
}

Error ControlClient::explain(std::string_view what) const {
  [[maybe_unused]] const auto ended = wait_ended(Limits({}, kExplainPatience), what);
  const std::scoped_lock lock(mutex_);
  if (ended_) return end_error(what);
  return {ErrorCode::vm_gone, std::string(what) + ": the guest closed the connection"};
}

}  // namespace microvm::host
