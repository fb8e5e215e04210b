#include "host/session/operation.hpp"

#include <poll.h>

#include <csignal>

#include "host/session/agent_messages.hpp"

namespace microvm::host {

using wire::FrameType;

namespace {

constexpr std::chrono::seconds kCollectLimit{1};

// What was asked for makes no sense for what the guest has: a path through a file, a directory to
// be read, …
bool is_wrong_request(int guest_errno) {
  switch (guest_errno) {
    case EINVAL:
    case ENOTDIR:
    case EISDIR:
    case ENOTEMPTY:
    case ENAMETOOLONG:
    case ELOOP:
    case EXDEV:
      return true;
    default:
      return false;
  }
}

// As every agent answers a first frame that it does not know (agent/operation/operation.cpp).
bool is_unknown_operation(const microvm_agent_Failure& failure) {
  return failure.error == EPROTO &&
         guest_text(failure.message).starts_with("no operation starts with a frame of type ");
}

}  // namespace

Operation::Operation(std::shared_ptr<AgentLink> link, std::string what, base::Fd stream)
    : link_(std::move(link)),
      what_(std::move(what)),
      stream_(std::move(stream)),
      writer_(std::make_unique<FrameWriter>()) {}

Result<Operation> Operation::open(std::shared_ptr<AgentLink> link, std::string what,
                                  const Limits& limits) {
  auto stream = link->open(limits);
  if (!stream) return base::fail(stream.error());
  return Operation(std::move(link), std::move(what), std::move(*stream));
}

Operation Operation::on(std::shared_ptr<AgentLink> link, std::string what, base::Fd stream) {
  return Operation(std::move(link), std::move(what), std::move(stream));
}

Result<void> Operation::send(FrameType type, wire::ByteView body, const Limits& limits) {
  const FrameToSend frame{type, body};
  return send(std::span(&frame, 1), limits);
}

Result<void> Operation::send(std::span<const FrameToSend> frames, const Limits& limits) {
  auto sent = writer_->write(stream_.get(), frames, limits, what_);
  if (sent || sent.error().code != ErrorCode::vm_gone) return sent;
  // An agent that gives up early says why before it closes.
  const auto frame = reader_.read(stream_.get(), limits, what_);
  if (frame && *frame && (*frame)->type == FrameType::failed) return refused(**frame);
  return base::fail(link_->broken(what_));
}

Result<void> Operation::push(FrameType type, wire::ByteView body, const Limits& limits,
                             bool* taken) {
  auto sent = writer_->write(stream_.get(), type, body, limits, what_, taken);
  if (sent || sent.error().code != ErrorCode::vm_gone) return sent;
  return base::fail(link_->broken(what_));
}

Result<bool> Operation::try_push(FrameType type, wire::ByteView body, const Limits& limits,
                                 bool* taken) {
  const auto sent = writer_->write(stream_.get(), type, body, limits, what_, taken);
  if (!sent && sent.error().code != ErrorCode::vm_gone) return base::fail(sent.error());
  return sent.has_value();
}

Result<std::optional<Frame>> Operation::try_receive(const Limits& limits) {
  auto frame = reader_.read(stream_.get(), limits, what_);
  if (frame && *frame && (*frame)->type == FrameType::failed) return refused(**frame);
  return frame;
}

Result<void> Operation::push_data(FrameType type, wire::ByteView data, const Limits& limits) {
  while (!data.empty()) {
    const auto piece = data.first(std::min<size_t>(data.size(), wire::kDataChunk));
    if (auto sent = push(type, piece, limits); !sent) return sent;
    data = data.subspan(piece.size());
  }
  return {};
}

Result<Frame> Operation::receive(const Limits& limits) {
  auto frame = try_receive(limits);
  if (!frame) return base::fail(frame.error());
  if (!*frame) return base::fail(link_->broken(what_));
  return std::move(**frame);
}

Result<std::optional<Frame>> Operation::receive_if_known(const Limits& limits) {
  auto frame = reader_.read(stream_.get(), limits, what_);
  if (!frame) return base::fail(frame.error());
  if (!*frame) return base::fail(link_->broken(what_));
  if ((*frame)->type != FrameType::failed) return frame;
  const auto failure = decode_message<microvm_agent_Failure>((*frame)->body);
  if (failure && is_unknown_operation(*failure)) return std::nullopt;
  return refused(**frame);
}

Result<void> Operation::expect_ok(const Limits& limits) {
  const auto frame = receive(limits);
  if (!frame) return base::fail(frame.error());
  if (frame->type != FrameType::ok) return unexpected(*frame);
  return {};
}

void Operation::collect(std::chrono::milliseconds wait, const Limits& limits) {
  // As a rule there is room, also for who has no time left.
  auto told = try_push(FrameType::pty_collect, {}, Limits::at_once());
  if (!told) told = try_push(FrameType::pty_collect, {}, limits.within(kCollectLimit));
  if (!told || !*told || wait.count() == 0) return;
  [[maybe_unused]] const auto closed = limits.within(wait).wait(stream_.get(), POLLRDHUP, what_);
}

base::Failure Operation::unexpected(const Frame& frame) const {
  return base::fail(ErrorCode::protocol, what_ + ": the agent sent frame " +
                                             std::to_string(static_cast<unsigned>(frame.type)) +
                                             " out of turn");
}

base::Failure Operation::refused(const Frame& frame) const {
  return refusal(what_, frame);
}

base::Failure refusal(const std::string& what, const Frame& frame) {
  const auto failure = decode_message<microvm_agent_Failure>(frame.body);
  if (!failure) return base::fail(failure.error());
  const std::string text = guest_text(failure->message);
  if (is_unknown_operation(*failure)) {
    return base::fail(ErrorCode::unsupported,
                      what +
                          ": the microvm's image was made by an older version, whose agent can "
                          "not do this: rebuild the image");
  }
  Error error = base::fail_errno(what, failure->error > 0 ? failure->error : EIO).value();
  if (failure->error == ECONNREFUSED) error.code = ErrorCode::connection_refused;
  if (failure->error == EBUSY || failure->error == EAGAIN) error.code = ErrorCode::busy;
  if (is_wrong_request(failure->error)) error.code = ErrorCode::invalid_argument;
  if (failure->error == ETIMEDOUT) error.code = ErrorCode::deadline_exceeded;
  if (!text.empty()) error.message = what + ": " + text;
  return base::fail(std::move(error));
}

Result<wire::Bytes> string_list(const std::vector<std::string>& strings, std::string_view name,
                                size_t max_bytes) {
  wire::ByteWriter out;
  for (const std::string& text : strings) {
    if (text.find('\0') != std::string::npos) {
      return base::fail(ErrorCode::invalid_argument, std::string(name) + " with a zero byte in it");
    }
    out.put_bytes(wire::as_bytes(text));
    out.put<uint8_t>(0);
  }
  if (out.bytes().size() > max_bytes) {
    return base::fail(ErrorCode::invalid_argument, std::string(name) + " of more than " +
                                                       std::to_string(max_bytes / 1024) + " KiB");
  }
  return out.take();
}

Result<wire::Bytes> signal_request(int signal) {
  if (signal < 1 || signal > SIGRTMAX) {
    return base::fail(ErrorCode::invalid_argument, "no such signal: " + std::to_string(signal));
  }
  microvm_agent_SignalRequest request{};
  request.signal = static_cast<uint32_t>(signal);
  return encode_message(request);
}

namespace {

uint32_t frames_for(size_t bytes) {
  return static_cast<uint32_t>((bytes + wire::kMaxFrameBody - 1) / wire::kMaxFrameBody);
}

// One frame at least.
Result<void> send_list(Operation& operation, FrameType type, wire::ByteView list,
                       const Limits& limits) {
  do {
    const auto piece = list.first(std::min<size_t>(list.size(), wire::kMaxFrameBody));
    if (auto sent = operation.send(type, piece, limits); !sent) return sent;
    list = list.subspan(piece.size());
  } while (!list.empty());
  return {};
}

}  // namespace

Result<CommandFrames> CommandFrames::make(const AgentCommand& command, size_t max_list_bytes) {
  if (command.argv.empty() || command.argv[0].empty()) {
    return base::fail(ErrorCode::invalid_argument, "no program given");
  }
  CommandFrames frames;
  auto& request = frames.request;
  auto ok = set_text(request.cwd, command.cwd, "working directory");
  if (ok) ok = set_text(request.user, command.user, "user");
  if (!ok) return base::fail(ok.error());
  request.timeout_ms = command.timeout_ms;
  request.stdin_open = command.stdin_open;
  request.no_network = command.no_network;
  auto arguments = string_list(command.argv, "arguments", max_list_bytes);
  if (!arguments) return base::fail(arguments.error());
  auto environment = string_list(command.env, "an environment", max_list_bytes);
  if (!environment) return base::fail(environment.error());
  request.argument_frames = frames_for(arguments->size());
  request.environment_frames = frames_for(environment->size());
  frames.arguments = std::move(*arguments);
  frames.environment = std::move(*environment);
  return frames;
}

bool CommandFrames::is_long() const {
  return request.argument_frames > 1 || request.environment_frames > 1;
}

Result<void> send_command(Operation& operation, FrameType type, const CommandFrames& frames,
                          const Limits& limits) {
  const auto request = encode_message(frames.request);
  if (!frames.is_long()) {
    const FrameToSend all[] = {{type, request},
                               {FrameType::arguments, frames.arguments},
                               {FrameType::environment, frames.environment}};
    return operation.send(all, limits);
  }
  if (auto ok = operation.send(type, request, limits); !ok) return ok;
  if (auto ok = send_list(operation, FrameType::arguments, frames.arguments, limits); !ok)
    return ok;
  return send_list(operation, FrameType::environment, frames.environment, limits);
}

}  // namespace microvm::host
