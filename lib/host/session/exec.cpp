// Exec: the public handle over one exec stream of the agent.
#include "microvm/exec.hpp"

#include <atomic>

#include "host/session/agent_client.hpp"
#include "host/session/agent_messages.hpp"
#include "host/session/operation.hpp"

namespace microvm {

using host::Limits;
using wire::FrameType;

// The reading thread owns `ended` and reads; writers only push, which the operation serialises.
struct [[gnu::visibility("hidden")]] Exec::Impl {
  explicit Impl(host::Operation op) : operation(std::move(op)) {}

  Result<void> begin(const Limits& limits);
  Result<std::optional<ExecOutput>> read(const Limits& limits);
  Result<void> on_exited(const host::Frame& frame);

  host::Operation operation;
  uint32_t pid = 0;
  std::optional<ExitStatus> ended;
};

Result<void> Exec::Impl::begin(const Limits& limits) {
  const auto frame = operation.receive(limits);
  if (!frame) return base::fail(frame.error());
  if (frame->type == FrameType::exited) return on_exited(*frame);
  if (frame->type != FrameType::started) return operation.unexpected(*frame);
  const auto started = host::decode_message<microvm_agent_Started>(frame->body);
  if (!started) return base::fail(started.error());
  pid = started->pid;
  return {};
}

Result<void> Exec::Impl::on_exited(const host::Frame& frame) {
  const auto exited = host::decode_message<microvm_agent_Exited>(frame.body);
  if (!exited) return base::fail(exited.error());
  ended = ExitStatus{exited->code, static_cast<int>(exited->signal), exited->timed_out,
                     host::guest_text(exited->message)};
  return {};
}

Result<std::optional<ExecOutput>> Exec::Impl::read(const Limits& limits) {
  while (!ended) {
    auto frame = operation.receive(limits);
    if (!frame) return base::fail(frame.error());
    if (frame->type == FrameType::exited) {
      if (auto ok = on_exited(*frame); !ok) return base::fail(ok.error());
    } else if (frame->type == FrameType::stdout_data || frame->type == FrameType::stderr_data) {
      if (frame->body.empty()) continue;
      const auto stream =
          frame->type == FrameType::stdout_data ? ExecOutput::Stream::out : ExecOutput::Stream::err;
      return ExecOutput{stream, std::move(frame->body)};
    } else {
      return operation.unexpected(*frame);
    }
  }
  return std::nullopt;
}

Exec::Exec(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Exec::Exec(Exec&&) noexcept = default;
Exec& Exec::operator=(Exec&&) noexcept = default;
// The agent kills the program's process group when its stream closes.
Exec::~Exec() = default;

Result<std::optional<ExecOutput>> Exec::read(const CallLimits& limits) {
  return impl_->read(Limits(limits));
}

Result<void> Exec::write_stdin(std::span<const std::byte> data, const CallLimits& call_limits) {
  return impl_->operation.push_data(FrameType::stdin_data, data, Limits(call_limits));
}

Result<void> Exec::close_stdin(const CallLimits& call_limits) {
  return impl_->operation.push(FrameType::stdin_end, {}, Limits(call_limits));
}

Result<void> Exec::kill(int signal) {
  const auto request = host::signal_request(signal);
  if (!request) return base::fail(request.error());
  return impl_->operation.push(FrameType::signal, *request, Limits({}, std::chrono::seconds(10)));
}

Result<ExitStatus> Exec::wait(const CallLimits& call_limits) {
  const Limits limits(call_limits);
  for (;;) {
    const auto output = impl_->read(limits);
    if (!output) return base::fail(output.error());
    if (!*output) return *impl_->ended;
  }
}

uint32_t Exec::pid() const noexcept {
  return impl_->pid;
}

int Exec::fd() const noexcept {
  return impl_->operation.fd();
}

Result<Exec> host::AgentClient::exec(const AgentCommand& command, const Limits& limits) {
  auto operation = Operation::open(link_, "exec", limits);
  if (!operation) return base::fail(operation.error());
  if (auto ok = send_command(*operation, FrameType::exec, command, limits); !ok) {
    return base::fail(ok.error());
  }
  auto impl = std::make_unique<Exec::Impl>(std::move(*operation));
  if (auto ok = impl->begin(limits); !ok) return base::fail(ok.error());
  return Exec(std::move(impl));
}

}  // namespace microvm
