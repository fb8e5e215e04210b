// Pty: the public handle over one stream of a terminal session.
#include "microvm/pty.hpp"

#include <sys/socket.h>

#include <atomic>

#include "host/base/home_process.hpp"
#include "host/session/agent_client.hpp"
#include "host/session/agent_messages.hpp"
#include "host/session/operation.hpp"
#include "host/session/stream_end.hpp"

namespace microvm {

using host::Limits;
using wire::FrameType;

namespace {

// Of calls that only hand something to the agent.
constexpr std::chrono::seconds kSendLimit{10};
// Until the agent has forgotten a terminal whose end was told; one of an older version does not
// say.
constexpr std::chrono::milliseconds kForgetLimit{200};
// A list is bounded by the agent, and here against one that does not keep to it.
constexpr size_t kMaxListed = 1024;
constexpr const char* kTerminal = "terminal";

PtySize to_size(uint32_t rows, uint32_t columns) {
  return {static_cast<uint16_t>(rows), static_cast<uint16_t>(columns)};
}

PtyInfo to_info(const microvm_agent_PtyInfo& message) {
  PtyInfo info;
  info.id = host::guest_text(message.id);
  info.command = host::guest_text(message.command);
  info.pid = message.pid;
  info.size = to_size(message.rows, message.columns);
  info.clients = message.clients;
  info.writers = message.writers;
  info.writing = message.shared_writing ? PtyWriting::shared : PtyWriting::exclusive;
  if (message.ended)
    info.ended = ExitStatus{message.code, static_cast<int>(message.signal), false, {}};
  return info;
}

Result<void> check_size(PtySize size) {
  if (size.rows > 0 && size.columns > 0) return {};
  return base::fail(ErrorCode::invalid_argument, "a terminal has at least one row and one column");
}

}  // namespace

// The reading thread owns `ended`, `farewell`, `lost` and reads; writers only push, which the
// operation serialises.
struct [[gnu::visibility("hidden")]] Pty::Impl {
  Impl(host::Operation op, std::shared_ptr<host::StreamHome> vm)
      : operation(std::make_shared<host::Operation>(std::move(op))),
        stream_home(std::move(vm)),
        end(stream_home) {}
  // A forked child may have a copy of the stream.
  ~Impl() {
    if (!ended && home.is_here()) ::shutdown(operation->fd(), SHUT_RDWR);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Result<void> begin(const Limits& limits);
  Result<std::optional<PtyOutput>> read(const Limits& limits);
  Result<ExitStatus> wait(const Limits& limits);
  Result<host::Frame> receive(const Limits& limits);
  Result<void> push(FrameType type, wire::ByteView body, const Limits& limits,
                    bool* taken = nullptr);
  Result<void> write(wire::ByteView data, const Limits& limits);
  Result<bool> take(host::Frame& frame, const Limits& limits);
  Result<void> on_opened(const host::Frame& frame);
  Result<void> on_exited(const host::Frame& frame, const Limits& limits);
  Result<void> check_writer() const;

  const std::shared_ptr<host::Operation> operation;
  const host::HomeProcess home;
  const std::shared_ptr<host::StreamHome> stream_home;  // none: the stream is all there is
  const host::StreamEnd end;
  std::string id;
  uint32_t pid = 0;
  std::atomic<bool> writer{false};
  std::atomic<uint64_t> position{0};
  uint64_t lost = 0;  // since the last piece of output
  std::optional<ExitStatus> ended;
  host::Farewell farewell;
};

Result<host::Frame> Pty::Impl::receive(const Limits& limits) {
  auto frame = operation->try_receive(limits);
  if (!frame) return base::fail(frame.error());
  if (!*frame) return base::fail(end.why(*operation, limits));
  return std::move(**frame);
}

Result<void> Pty::Impl::push(FrameType type, wire::ByteView body, const Limits& limits,
                             bool* taken) {
  const auto sent = operation->try_push(type, body, limits, taken);
  if (!sent) return base::fail(sent.error());
  if (!*sent) return base::fail(end.why(*operation, limits));
  return {};
}

Result<void> Pty::Impl::write(wire::ByteView data, const Limits& limits) {
  while (!data.empty()) {
    const auto piece = data.first(std::min<size_t>(data.size(), wire::kDataChunk));
    if (auto sent = push(FrameType::stdin_data, piece, limits); !sent) return sent;
    data = data.subspan(piece.size());
  }
  return {};
}

Result<void> Pty::Impl::begin(const Limits& limits) {
  const auto frame = receive(limits);
  if (!frame) return base::fail(frame.error());
  if (frame->type == FrameType::exited) return on_exited(*frame, limits);
  if (frame->type != FrameType::pty_opened) return operation->unexpected(*frame);
  return on_opened(*frame);
}

Result<void> Pty::Impl::on_opened(const host::Frame& frame) {
  const auto opened = host::decode_message<microvm_agent_PtyOpened>(frame.body);
  if (!opened) return base::fail(opened.error());
  id = host::guest_text(opened->id);
  pid = opened->pid;
  writer = opened->writer;
  position = opened->position;
  return {};
}

Result<void> Pty::Impl::on_exited(const host::Frame& frame, const Limits& limits) {
  const auto exited = host::decode_message<microvm_agent_Exited>(frame.body);
  if (!exited) return base::fail(exited.error());
  ended = host::to_exit_status(*exited);
  farewell.say(operation, stream_home.get(), kForgetLimit, limits);
  return {};
}

// True: the frame's body is output.
Result<bool> Pty::Impl::take(host::Frame& frame, const Limits& limits) {
  if (frame.type == FrameType::stdout_data) {
    position += frame.body.size();
    return !frame.body.empty();
  }
  if (frame.type == FrameType::pty_lost) {
    const auto message = host::decode_message<microvm_agent_PtyLost>(frame.body);
    if (!message) return base::fail(message.error());
    lost += message->bytes;
    position += message->bytes;
    return false;
  }
  if (frame.type == FrameType::pty_role) {
    const auto message = host::decode_message<microvm_agent_PtyRole>(frame.body);
    if (!message) return base::fail(message.error());
    writer = message->writer;
    return false;
  }
  if (frame.type != FrameType::exited) return operation->unexpected(frame);
  if (auto ok = on_exited(frame, limits); !ok) return base::fail(ok.error());
  return false;
}

Result<std::optional<PtyOutput>> Pty::Impl::read(const Limits& limits) {
  for (int frames = 0; !ended; ++frames) {
    if (!limits.may_wait() && frames == host::kFramesAtOnce) return Limits::would_block(kTerminal);
    auto frame = receive(limits);
    if (!frame) return base::fail(frame.error());
    const auto is_output = take(*frame, limits);
    if (!is_output) return base::fail(is_output.error());
    if (*is_output) return PtyOutput{std::move(frame->body), std::exchange(lost, 0)};
  }
  if (auto through = farewell.wait(limits); !through) return base::fail(through.error());
  return std::nullopt;
}

// Discards what it reads.
Result<ExitStatus> Pty::Impl::wait(const Limits& limits) {
  for (int pieces = 0; limits.may_wait() || pieces < host::kFramesAtOnce; ++pieces) {
    const auto output = read(limits);
    if (!output) return base::fail(output.error());
    if (!*output) return *ended;
  }
  return Limits::would_block(kTerminal);
}

Result<void> Pty::Impl::check_writer() const {
  if (writer) return {};
  return base::fail(ErrorCode::busy, "terminal \"" + id + "\": this client only watches");
}

Pty::Pty(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Pty::Pty(Pty&&) noexcept = default;
Pty& Pty::operator=(Pty&&) noexcept = default;
Pty::~Pty() = default;

Result<std::optional<PtyOutput>> Pty::read(const CallLimits& limits) {
  if (auto ok = impl_->home.check(limits); !ok) return base::fail(ok.error());
  return impl_->read(Limits(limits));
}

Result<std::optional<PtyOutput>> Pty::try_read() {
  if (auto ok = impl_->home.check(); !ok) return base::fail(ok.error());
  return impl_->read(Limits::at_once());
}

Result<void> Pty::write(std::span<const std::byte> data, const CallLimits& call_limits) {
  if (auto ok = impl_->home.check(call_limits); !ok) return base::fail(ok.error());
  if (auto ok = impl_->check_writer(); !ok) return ok;
  return impl_->write(data, Limits(call_limits));
}

Result<size_t> Pty::try_write(std::span<const std::byte> data) {
  if (auto ok = impl_->home.check(); !ok) return base::fail(ok.error());
  const Limits limits = Limits::at_once();
  return host::send_some(data, [&](wire::ByteView piece, size_t& gone) -> Result<void> {
    if (auto ok = impl_->check_writer(); !ok) return ok;
    bool taken = false;
    auto sent = impl_->push(FrameType::stdin_data, piece, limits, &taken);
    gone = taken ? piece.size() : 0;
    return sent;
  });
}

Result<void> Pty::resize(PtySize size, const CallLimits& limits) {
  if (auto ok = impl_->home.check(limits); !ok) return base::fail(ok.error());
  if (auto ok = check_size(size); !ok) return ok;
  if (auto ok = impl_->check_writer(); !ok) return ok;
  const microvm_agent_PtySize message{size.rows, size.columns};
  return impl_->push(FrameType::pty_resize, host::encode_message(message),
                     Limits(limits, kSendLimit));
}

Result<void> Pty::signal(int signal, const CallLimits& limits) {
  if (auto ok = impl_->home.check(limits); !ok) return base::fail(ok.error());
  const auto request = host::signal_request(signal);
  if (!request) return base::fail(request.error());
  if (auto ok = impl_->check_writer(); !ok) return ok;
  return impl_->push(FrameType::signal, *request, Limits(limits, kSendLimit));
}

// The descriptor stays until the handle goes: another thread may be waiting on it.
void Pty::detach() {
  if (!impl_->home.is_here()) return;
  ::shutdown(impl_->operation->fd(), SHUT_RDWR);
}

Result<ExitStatus> Pty::wait(const CallLimits& limits) {
  if (auto ok = impl_->home.check(limits); !ok) return base::fail(ok.error());
  return impl_->wait(Limits(limits));
}

Result<ExitStatus> Pty::try_wait() {
  if (auto ok = impl_->home.check(); !ok) return base::fail(ok.error());
  return impl_->wait(Limits::at_once());
}

const std::string& Pty::id() const noexcept {
  return impl_->id;
}

uint32_t Pty::pid() const noexcept {
  return impl_->pid;
}

bool Pty::writer() const noexcept {
  return impl_->writer;
}

uint64_t Pty::position() const noexcept {
  return impl_->position;
}

int Pty::fd() const noexcept {
  return impl_->operation->fd();
}

namespace host {
namespace {

Result<Pty> begin(Operation operation, std::shared_ptr<StreamHome> home, const Limits& limits) {
  auto impl = std::make_unique<Pty::Impl>(std::move(operation), std::move(home));
  if (auto ok = impl->begin(limits); !ok) return base::fail(ok.error());
  return Pty(std::move(impl));
}

Result<microvm_agent_PtyOpenRequest> open_request(const PtyCommand& command) {
  microvm_agent_PtyOpenRequest request{};
  if (auto ok = set_text(request.id, command.id, "terminal name"); !ok) {
    return base::fail(ok.error());
  }
  if (auto ok = set_text(request.cwd, command.program.cwd, "working directory"); !ok) {
    return base::fail(ok.error());
  }
  if (auto ok = set_text(request.user, command.program.user, "user"); !ok) {
    return base::fail(ok.error());
  }
  request.rows = command.size.rows;
  request.columns = command.size.columns;
  request.shared_writing = command.writing == PtyWriting::shared;
  return request;
}

Result<microvm_agent_PtyAttachRequest> attach_request(const std::string& id,
                                                      const PtyAttachOptions& options) {
  microvm_agent_PtyAttachRequest request{};
  if (auto ok = set_text(request.id, id, "terminal name"); !ok) return base::fail(ok.error());
  request.write = options.write;
  request.take_over = options.take_over;
  if (options.size) {
    if (auto ok = check_size(*options.size); !ok) return base::fail(ok.error());
    request.rows = options.size->rows;
    request.columns = options.size->columns;
  }
  request.continues = options.position.has_value();
  request.position = options.position.value_or(0);
  return request;
}

}  // namespace

Result<Pty> AgentClient::open_pty(const PtyCommand& command,
                                  const std::shared_ptr<StreamHome>& home, const Limits& limits) {
  if (auto ok = check_size(command.size); !ok) return base::fail(ok.error());
  const auto request = open_request(command);
  if (!request) return base::fail(request.error());
  const auto arguments = string_list(command.program.argv, "arguments");
  if (!arguments) return base::fail(arguments.error());
  const auto environment = string_list(command.program.env, "an environment");
  if (!environment) return base::fail(environment.error());
  auto operation = Operation::open(link_, "open a terminal", limits);
  if (!operation) return base::fail(operation.error());
  auto ok = operation->send(FrameType::pty_open, encode_message(*request), limits);
  if (ok) ok = operation->send(FrameType::arguments, *arguments, limits);
  if (ok) ok = operation->send(FrameType::environment, *environment, limits);
  if (!ok) return base::fail(ok.error());
  return begin(std::move(*operation), home, limits);
}

Result<Pty> AgentClient::attach_pty(const std::string& id, const PtyAttachOptions& options,
                                    const std::shared_ptr<StreamHome>& home, const Limits& limits) {
  const auto request = attach_request(id, options);
  if (!request) return base::fail(request.error());
  auto operation = Operation::open(link_, "attach to a terminal", limits);
  if (!operation) return base::fail(operation.error());
  auto ok = operation->send(FrameType::pty_attach, encode_message(*request), limits);
  if (!ok) return base::fail(ok.error());
  return begin(std::move(*operation), home, limits);
}

Result<std::vector<PtyInfo>> AgentClient::list_ptys(const Limits& limits) {
  auto operation = Operation::open(link_, "list terminals", limits);
  if (!operation) return base::fail(operation.error());
  auto sent = operation->send(FrameType::pty_list, {}, limits);
  if (!sent) return base::fail(sent.error());
  std::vector<PtyInfo> infos;
  for (;;) {
    const auto frame = operation->receive(limits);
    if (!frame) return base::fail(frame.error());
    if (frame->type == FrameType::ok) return infos;
    if (frame->type != FrameType::pty_info || infos.size() == kMaxListed) {
      return operation->unexpected(*frame);
    }
    const auto info = decode_message<microvm_agent_PtyInfo>(frame->body);
    if (!info) return base::fail(info.error());
    infos.push_back(to_info(*info));
  }
}

Result<void> AgentClient::close_pty(const std::string& id, const Limits& limits) {
  microvm_agent_PtyCloseRequest request{};
  if (auto ok = set_text(request.id, id, "terminal name"); !ok) return ok;
  auto operation = Operation::open(link_, "close a terminal", limits);
  if (!operation) return base::fail(operation.error());
  auto sent = operation->send(FrameType::pty_close, encode_message(request), limits);
  if (!sent) return sent;
  return operation->expect_ok(limits);
}

}  // namespace host
}  // namespace microvm
