#include "host/session/exec_client.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include "host/session/agent_messages.hpp"
#include "sys/socket.hpp"

namespace microvm::host {

using wire::FrameType;

namespace {

// Of what is only handed to the agent, by a stream that has room as a rule.
constexpr std::chrono::milliseconds kLastWordLimit{20};
constexpr std::chrono::seconds kTellLimit{1};
// Of a program that polls, to see that it was woken.
constexpr std::chrono::seconds kWakePatience{1};
// Where attaching again fails at once, again and again.
constexpr size_t kMaxPolledBefore = 8;

bool is_output(FrameType type) {
  return type == FrameType::stdout_data || type == FrameType::stderr_data;
}

// The agent comes to the word that a client leaves once the program has read its stdin, and closes.
void await_leave(const Operation& operation, const Limits& limits) {
  [[maybe_unused]] const auto closed =
      limits.within(kTellLimit).wait(operation.fd(), POLLRDHUP, operation.what());
}

// How far a frame brings its reader in the output.
Result<uint64_t> output_bytes(const Frame& frame) {
  if (is_output(frame.type)) return frame.body.size();
  if (frame.type != FrameType::pty_lost) return 0;
  const auto message = decode_message<microvm_agent_PtyLost>(frame.body);
  if (!message) return base::fail(message.error());
  return message->bytes;
}

}  // namespace

ExecClient::ExecClient(Operation operation, Settings settings)
    : settings_(std::move(settings)),
      stream_(std::make_shared<Stream>(std::move(operation), settings_.home)) {}

ExecClient::~ExecClient() {
  let_go();
  {
    const std::scoped_lock lock(sender_mutex_);
    closing_ = true;
  }
  sender_wanted_.notify_all();
  ::shutdown(stream_->operation.fd(), SHUT_RDWR);  // a sender that waits for room gives up
  if (sender_.joinable()) sender_.join();
}

// A client that is lost without a word leaves its program running.
void ExecClient::let_go() {
  if (over_ || left_ || (begun_ && id_.empty())) return;
  Operation& operation = stream_->operation;
  // Behind stdin that the program may not read, a word may never be heard.
  const bool is_heard = !begun_ || !settings_.kills || !has_written_;
  const FrameType word = settings_.kills ? FrameType::exec_drop : FrameType::exec_detach;
  if (is_heard) {
    const auto said = operation.try_push(word, {}, Limits({}, kLastWordLimit));
    if (said && *said && !settings_.kills && has_written_) await_leave(operation, Limits({}));
    if (said) return;
  }
  if (begun_ && settings_.kills) kill_and_forget(operation.shared_link());
}

void ExecClient::kill_and_forget(const std::shared_ptr<AgentLink>& link) const {
  microvm_agent_ExecSignalRequest request{};
  id_.copy(request.id, sizeof request.id - 1);
  request.signal = SIGKILL;
  request.forget = true;
  const Limits limits({}, kTellLimit);
  auto other = Operation::open(link, "kill an exec", limits);
  if (!other) return;
  auto killed = other->send(FrameType::exec_signal, encode_message(request), limits);
  if (killed) killed = other->expect_ok(limits);
}

Result<void> ExecClient::begin(const Limits& limits) {
  Operation& operation = stream_->operation;
  const auto frame = operation.receive(limits);
  if (!frame) return base::fail(frame.error());
  if (frame->type == FrameType::exited) {
    begun_ = true;
    return on_exited(*frame, limits);
  }
  if (frame->type != FrameType::started) return operation.unexpected(*frame);
  const auto started = decode_message<microvm_agent_Started>(frame->body);
  if (!started) return base::fail(started.error());
  id_ = guest_text(started->id);
  position_ = started->position;
  stdin_.begin(started->stdin_bytes);
  begun_ = true;
  if (settings_.home) settings_.home->note(ExecStep::started);
  on_started(*started, *stream_);
  // An older agent knows no readers.
  if (id_.empty()) writer_ = true;
  if (!settings_.reattach) return {};
  poll_fd_.reset(::fcntl(operation.fd(), F_DUPFD_CLOEXEC, 0));
  if (!poll_fd_) return base::fail_errno(operation.what() + ": duplicate its stream");
  return {};
}

void ExecClient::on_started(const microvm_agent_Started& started, Stream& stream) {
  pid_ = started.pid;
  writer_ = started.writer;
  pen_ = started.pen;
  const std::scoped_lock lock(log_mutex_);
  // Where another client writes, the agent's count is not of what this one has written.
  const bool goes_on = started.writer && !started.stdin_ended;
  stream.next_stdin = goes_on ? started.stdin_bytes : stdin_.end();
  stream.end_sent = started.stdin_ended;
}

ExecClient::StreamRef ExecClient::current() const {
  const std::scoped_lock lock(stream_mutex_);
  return stream_;
}

int ExecClient::fd() const {
  return poll_fd_ ? poll_fd_.get() : current()->operation.fd();
}

Error ExecClient::why_ended(const Stream& stream, const Limits& limits) const {
  if (left_) return {ErrorCode::busy, what() + ": this handle was detached"};
  if (over_) return {ErrorCode::vm_gone, what() + ": the program has ended"};
  Error why = stream.end.why(stream.operation, limits);
  if (why.code == ErrorCode::vm_suspended && id_.empty()) {
    why.code = ErrorCode::vm_gone;
    why.message += ", and with it the program: the microvm's image was made by an older version";
  }
  return why;
}

Result<std::optional<ExecOutput>> ExecClient::read(const Limits& limits) {
  for (int frames = 0; limits.may_wait() || frames < kFramesAtOnce; ++frames) {
    auto held = limits.lock(read_mutex_, what());
    if (!held) return base::fail(held.error());
    if (ended_) return at_end(limits);
    const StreamRef stream = current();
    auto frame = next_frame(*stream, limits);
    if (!frame) return base::fail(frame.error());
    if (!*frame) {
      if (auto again = attach_again(*held, stream, limits); !again)
        return base::fail(again.error());
      continue;
    }
    const auto has_output = take(**frame, *stream, limits);
    if (!has_output) return base::fail(has_output.error());
    if (ended_) return at_end(limits);  // known, also where the limits are over by now
    if (!*has_output) continue;
    const auto which = (*frame)->type == FrameType::stdout_data ? ExecOutput::Stream::out
                                                                : ExecOutput::Stream::err;
    return ExecOutput{which, std::move((*frame)->body), std::exchange(lost_, 0)};
  }
  return Limits::would_block(what());
}

Result<std::optional<ExecOutput>> ExecClient::at_end(const Limits& limits) {
  if (auto through = farewell_.wait(limits); !through) return base::fail(through.error());
  return std::nullopt;
}

Result<ExitStatus> ExecClient::wait(const Limits& limits) {
  for (int pieces = 0; limits.may_wait() || pieces < kFramesAtOnce; ++pieces) {
    const auto output = read(limits);
    if (!output) return base::fail(output.error());
    if (!*output) return *ended_;
  }
  return Limits::would_block(what());
}

// Empty at the end of the stream.
Result<std::optional<Frame>> ExecClient::next_frame(Stream& stream, const Limits& limits) {
  point_poll_fd();
  if (rest_.empty()) return stream.operation.try_receive(limits);
  Frame frame = std::move(rest_.front());
  rest_.pop_front();
  point_poll_fd();
  return frame;
}

// True: the frame's body is output.
Result<bool> ExecClient::take(const Frame& frame, const Stream& stream, const Limits& limits) {
  const auto bytes = output_bytes(frame);
  if (!bytes) return base::fail(bytes.error());
  position_ += *bytes;
  if (is_output(frame.type)) return !frame.body.empty();
  if (frame.type == FrameType::pty_lost) {
    lost_ += *bytes;
  } else if (frame.type == FrameType::pty_role) {
    const auto role = decode_message<microvm_agent_PtyRole>(frame.body);
    if (!role) return base::fail(role.error());
    writer_ = role->writer;
  } else if (frame.type != FrameType::exited) {
    return stream.operation.unexpected(frame);
  } else if (auto ok = on_exited(frame, limits); !ok) {
    return base::fail(ok.error());
  }
  return false;
}

Result<void> ExecClient::on_exited(const Frame& frame, const Limits& limits) {
  const auto exited = decode_message<microvm_agent_Exited>(frame.body);
  if (!exited) return base::fail(exited.error());
  ended_ = to_exit_status(*exited);
  over_ = true;
  if (settings_.home) settings_.home->note(ExecStep::ended);
  pid_ = ended_->message.empty() ? pid_.load() : 0;
  if (id_.empty()) return {};
  const StreamRef stream = current();
  farewell_.say(std::shared_ptr<Operation>(stream, &stream->operation), settings_.home.get(),
                settings_.has_name ? kForgetLimit : std::chrono::seconds(0), limits);
  return {};
}

// A reader has it as long as it waits, also on the stream with which it has come back itself: then
// there is nothing to do, and the lock is not had.
Result<ExecClient::ReadLock> ExecClient::lock_to_come_back(const StreamRef& lost,
                                                           const Limits& limits) {
  constexpr std::chrono::milliseconds kLookAgain{20};
  for (;;) {
    if (current() != lost) return ReadLock();
    auto held = limits.within(kLookAgain).lock(read_mutex_, what());
    if (held || held.error().code != ErrorCode::deadline_exceeded) return held;
    if (auto ok = limits.check(what()); !ok) return base::fail(ok.error());
  }
}

Result<void> ExecClient::come_back(const StreamRef& lost, const Limits& limits) {
  auto held = lock_to_come_back(lost, limits);
  if (!held) return base::fail(held.error());
  return held->owns_lock() ? attach_again(*held, lost, limits) : Result<void>();
}

Result<void> ExecClient::attach_again(ReadLock& held, const StreamRef& lost, const Limits& limits) {
  if (current() != lost) return {};
  if (may_come_back() && !limits.may_wait()) return attach_later(lost);
  auto done = attach_now(lost, limits);
  held.unlock();  // those who are woken need it
  wake_pollers();
  return done;
}

Result<void> ExecClient::attach_now(const StreamRef& lost, const Limits& limits) {
  if (current() != lost) return {};
  const Error why = why_ended(*lost, limits);
  if (why.code != ErrorCode::vm_suspended || !may_come_back()) return base::fail(why);
  keep_pollers_quiet();
  if (auto kept = keep_rest(*lost, limits); !kept) return kept;
  StreamRef stream;
  auto done = settings_.home->with_link(
      limits, what(), [&](const std::shared_ptr<AgentLink>& link) -> Result<void> {
        auto opened = open_again(link, limits);
        if (!opened) return base::fail(opened.error());
        stream = std::move(*opened);
        return {};
      });
  if (!done) return done;
  adopt(stream);
  if (!unwanted()) return {};
  // Detached or dropped meanwhile: the program goes on, as without this stream.
  left_ = true;
  [[maybe_unused]] const auto said =
      stream->operation.try_push(FrameType::exec_detach, {}, Limits({}, kLastWordLimit));
  ::shutdown(stream->operation.fd(), SHUT_RDWR);
  return base::fail(why_ended(*stream, limits));
}

// Whoever comes next has the result, a stream or the error; those who poll are told to come.
Result<void> ExecClient::attach_later(const StreamRef& lost) {
  std::unique_lock lock(stream_mutex_);
  if (attach_failed_) return base::fail(*std::exchange(attach_failed_, std::nullopt));
  if (is_attaching_) return Limits::would_block(what());
  keep_pollers_quiet();
  is_attaching_ = settings_.home->later(StreamHome::Errand::wake,
                                        [late = weak_from_this(), lost](const Limits& limits) {
                                          const auto client = late.lock();
                                          if (client) client->attach_as_errand(lost, limits);
                                        });
  if (is_attaching_) return Limits::would_block(what());
  lock.unlock();
  wake_pollers();
  return base::fail(why_ended(*lost, Limits({})));
}

void ExecClient::attach_as_errand(const StreamRef& lost, const Limits& limits) {
  auto held = lock_to_come_back(lost, limits);
  auto done = held ? Result<void>() : base::fail(held.error());
  if (held && held->owns_lock()) done = attach_now(lost, limits);
  {
    const std::scoped_lock lock(stream_mutex_);
    is_attaching_ = false;
    if (!done) attach_failed_ = std::move(done.error());
  }
  if (held && held->owns_lock()) held->unlock();
  wake_pollers();
}

// What the stream has brought and nobody has read: the guest may not have it any more. It has
// ended, so this waits for nothing.
Result<void> ExecClient::keep_rest(Stream& stream, const Limits& limits) {
  for (;;) {
    auto frame = stream.operation.try_receive(limits);
    if (!frame) return base::fail(frame.error());
    if (!*frame) return {};
    if ((*frame)->type == FrameType::exited) over_ = true;
    rest_.push_back(std::move(**frame));
    if (over_) return base::fail(why_ended(stream, limits));
  }
}

Result<uint64_t> ExecClient::end_of_rest() const {
  uint64_t end = position_;
  for (const Frame& frame : rest_) {
    const auto bytes = output_bytes(frame);
    if (!bytes) return base::fail(bytes.error());
    end += *bytes;
  }
  return end;
}

Result<ExecClient::StreamRef> ExecClient::open_again(const std::shared_ptr<AgentLink>& link,
                                                     const Limits& limits) {
  const auto position = end_of_rest();
  if (!position) return base::fail(position.error());
  microvm_agent_ExecAttachRequest request{};
  id_.copy(request.id, sizeof request.id - 1);
  request.write = writer_;
  request.continues = true;
  request.position = *position;
  request.pen = writer_ ? pen_ : 0;
  auto operation = Operation::open(link, what(), limits);
  if (!operation) return base::fail(operation.error());
  auto sent = operation->send(FrameType::exec_attach, encode_message(request), limits);
  if (!sent) return base::fail(sent.error());
  const auto frame = operation->receive(limits);
  if (!frame) return base::fail(frame.error());
  if (frame->type != FrameType::started) return operation->unexpected(*frame);
  const auto started = decode_message<microvm_agent_Started>(frame->body);
  if (!started) return base::fail(started.error());
  if (started->position != *position) return operation->unexpected(*frame);
  auto stream = std::make_shared<Stream>(std::move(*operation), settings_.home);
  if (auto ok = check_stdin(*started); !ok) return base::fail(ok.error());
  on_started(*started, *stream);
  return stream;
}

Result<void> ExecClient::check_stdin(const microvm_agent_Started& started) const {
  const std::scoped_lock lock(log_mutex_);
  if (!started.writer || started.stdin_ended) return {};
  return stdin_.check(started.stdin_bytes, what());
}

void ExecClient::adopt(StreamRef stream) {
  const auto piece = next_piece(*stream);
  const bool has_rest = (piece && !piece->empty()) || wants_end(*stream);
  {
    const std::scoped_lock lock(stream_mutex_);
    stream_ = std::move(stream);
    attach_failed_.reset();
  }
  poll_fd_is_old_ = true;
  if (has_rest) send_rest_later();
}

void ExecClient::point_poll_fd() {
  const auto now = std::chrono::steady_clock::now();
  while (!polled_before_.empty() && now >= polled_before_.front().until) polled_before_.pop_front();
  if (!rest_.empty() || !std::exchange(poll_fd_is_old_, false)) return;
  replace_poll_fd(current()->operation.fd());
}

void ExecClient::replace_poll_fd(int by) {
  polled_before_.push_back({base::Fd(::fcntl(poll_fd_.get(), F_DUPFD_CLOEXEC, 0)),
                            std::chrono::steady_clock::now() + kWakePatience});
  if (polled_before_.size() > kMaxPolledBefore) polled_before_.pop_front();
  ::dup3(by, poll_fd_.get(), O_CLOEXEC);
}

// A socket that is neither readable nor writable before its peer is closed, and then both.
void ExecClient::keep_pollers_quiet() {
  const std::scoped_lock lock(quiet_mutex_);
  if (!poll_fd_ || quiet_peer_) return;
  auto pair = sys::stream_pair();
  if (!pair) return;    // they look again and again instead
  const int least = 1;  // the kernel takes a few KiB
  ::setsockopt(pair->first.get(), SOL_SOCKET, SO_SNDBUF, &least, sizeof least);
  const std::array<std::byte, 4096> filling{};
  while (::send(pair->first.get(), filling.data(), filling.size(), MSG_DONTWAIT | MSG_NOSIGNAL) >
         0) {
  }
  replace_poll_fd(pair->first.get());
  quiet_peer_ = std::move(pair->second);
}

void ExecClient::wake_pollers() {
  const std::scoped_lock lock(quiet_mutex_);
  // A child that was forked meanwhile has a copy, and closing ours would end nothing.
  if (quiet_peer_) ::shutdown(quiet_peer_.get(), SHUT_RDWR);
  quiet_peer_.reset();
}

void ExecClient::look_at_poll_fd() {
  const std::unique_lock held(read_mutex_, std::try_to_lock);
  if (held) point_poll_fd();
}

Result<void> ExecClient::send_signal(wire::ByteView request, const Limits& limits) {
  return push(FrameType::signal, request, limits);
}

// The descriptor stays until the handle goes: another thread may be waiting on it.
Result<void> ExecClient::detach(const Limits& limits) {
  if (begun_ && id_.empty() && !over_) {
    return base::fail(
        ErrorCode::unsupported,
        "detach from an exec: the microvm's image was made by an older version, whose "
        "programs end with their handle: rebuild the image");
  }
  left_ = true;  // first: who is attaching again looks at it after its stream is the current one
  const StreamRef stream = current();
  auto said = stream->operation.try_push(FrameType::exec_detach, {}, limits.within(kTellLimit));
  if (said && *said && has_written_) await_leave(stream->operation, limits);
  ::shutdown(stream->operation.fd(), SHUT_RDWR);
  return {};
}

}  // namespace microvm::host
