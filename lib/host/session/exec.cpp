// Exec: the public handle over one client of a program, and what is asked of an agent about them.
#include "microvm/exec.hpp"

#include <sys/socket.h>

#include "host/base/home_process.hpp"
#include "host/session/agent_client.hpp"
#include "host/session/agent_messages.hpp"
#include "host/session/exec_client.hpp"
#include "host/session/operation.hpp"

namespace microvm {

using host::Limits;
using wire::FrameType;

struct [[gnu::visibility("hidden")]] Exec::Impl {
  Impl(host::Operation operation, host::ExecClient::Settings settings)
      : client(std::make_shared<host::ExecClient>(std::move(operation), std::move(settings))) {}
  ~Impl() { client->drop(); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  const host::HomeProcess home;
  const std::shared_ptr<host::ExecClient> client;
};

Exec::Exec(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Exec::Exec(Exec&&) noexcept = default;
Exec& Exec::operator=(Exec&& other) noexcept {
  Exec moved(std::move(other));
  impl_.swap(moved.impl_);
  return *this;
}
Exec::~Exec() {
  host::leave_unless_home(impl_);
}

Result<std::optional<ExecOutput>> Exec::read(const CallLimits& limits) {
  if (auto ok = impl_->home.check(limits); !ok) return base::fail(ok.error());
  return impl_->client->read(Limits(limits));
}

Result<std::optional<ExecOutput>> Exec::try_read() {
  if (auto ok = impl_->home.check(); !ok) return base::fail(ok.error());
  return impl_->client->read(Limits::at_once());
}

Result<void> Exec::write_stdin(std::span<const std::byte> data, const CallLimits& limits) {
  if (auto ok = impl_->home.check(limits); !ok) return base::fail(ok.error());
  return impl_->client->write_stdin(data, Limits(limits));
}

Result<size_t> Exec::try_write_stdin(std::span<const std::byte> data) {
  if (auto ok = impl_->home.check(); !ok) return base::fail(ok.error());
  return impl_->client->try_write_stdin(data);
}

Result<void> Exec::close_stdin(const CallLimits& limits) {
  if (auto ok = impl_->home.check(limits); !ok) return base::fail(ok.error());
  return impl_->client->close_stdin(Limits(limits));
}

Result<void> Exec::try_close_stdin() {
  if (auto ok = impl_->home.check(); !ok) return base::fail(ok.error());
  return impl_->client->close_stdin(Limits::at_once());
}

Result<void> Exec::signal(int signal, const CallLimits& limits) {
  if (auto ok = impl_->home.check(limits); !ok) return base::fail(ok.error());
  const auto request = host::signal_request(signal);
  if (!request) return base::fail(request.error());
  return impl_->client->send_signal(*request, Limits(limits, std::chrono::seconds(10)));
}

Result<void> Exec::detach(const CallLimits& limits) {
  if (auto ok = impl_->home.check(limits); !ok) return base::fail(ok.error());
  return impl_->client->detach(Limits(limits));
}

Result<ExitStatus> Exec::wait(const CallLimits& limits) {
  if (auto ok = impl_->home.check(limits); !ok) return base::fail(ok.error());
  return impl_->client->wait(Limits(limits));
}

Result<ExitStatus> Exec::try_wait() {
  if (auto ok = impl_->home.check(); !ok) return base::fail(ok.error());
  return impl_->client->wait(Limits::at_once());
}

const std::string& Exec::id() const noexcept {
  return impl_->client->id();
}

uint32_t Exec::pid() const noexcept {
  return impl_->client->pid();
}

uint64_t Exec::position() const noexcept {
  return impl_->client->position();
}

bool Exec::writer() const noexcept {
  return impl_->client->writer();
}

int Exec::fd() const noexcept {
  if (!impl_->home.is_here()) return -1;
  return impl_->client->fd();
}

namespace host {
namespace {

// A list is bounded by the agent, and here against one that does not keep to it.
constexpr size_t kMaxListedExecs = 4096;

Result<Exec> begin_exec(Operation operation, ExecClient::Settings settings, const Limits& limits) {
  auto impl = std::make_unique<Exec::Impl>(std::move(operation), std::move(settings));
  if (auto ok = impl->client->begin(limits); !ok) return base::fail(ok.error());
  return Exec(std::move(impl));
}

ExecInfo to_exec_info(const microvm_agent_ExecInfo& message) {
  ExecInfo info;
  info.id = guest_text(message.id);
  info.command = guest_text(message.command);
  info.pid = message.pid;
  info.clients = message.clients;
  info.written = message.written;
  info.detached = message.detached;
  info.output_bytes = message.output_bytes;
  if (message.ended) {
    info.ended = ExitStatus{message.code, static_cast<int>(message.signal), message.timed_out, {}};
  }
  return info;
}

Result<microvm_agent_ExecAttachRequest> exec_attach_request(const std::string& id,
                                                            const ExecAttachOptions& options) {
  microvm_agent_ExecAttachRequest request{};
  if (auto ok = set_text(request.id, id, "exec id"); !ok) return base::fail(ok.error());
  request.write = options.write;
  request.take_over = options.take_over;
  request.continues = options.position.has_value();
  request.position = options.position.value_or(0);
  return request;
}

}  // namespace

Result<Exec> AgentClient::exec(const AgentCommand& command, const Limits& limits) {
  const auto frames = CommandFrames::make(command, wire::kMaxFrameBody);
  if (!frames) return base::fail(frames.error());
  auto operation = Operation::open(link_, "exec", limits);
  if (!operation) return base::fail(operation.error());
  if (auto ok = send_command(*operation, FrameType::exec, *frames, limits); !ok) {
    return base::fail(ok.error());
  }
  return begin_exec(std::move(*operation), {.kills = true}, limits);
}

Result<Exec> AgentClient::exec(const ExecCommand& command, const std::shared_ptr<StreamHome>& home,
                               const Limits& limits) {
  auto frames = CommandFrames::make(command.program, kMaxExecListBytes);
  if (!frames) return base::fail(frames.error());
  auto& request = frames->request;
  if (auto ok = set_text(request.id, command.id, "exec id"); !ok) return base::fail(ok.error());
  request.keep = true;
  request.detached = command.detached;
  request.attempt = command.attempt;
  // An agent that does not know what is asked for must not start the program without it.
  const bool is_new = !command.id.empty() || command.detached || frames->is_long();
  auto operation = Operation::open(link_, "exec", limits);
  if (!operation) return base::fail(operation.error());
  if (home) home->note(ExecStep::connected);
  auto ok =
      send_command(*operation, is_new ? FrameType::exec_open : FrameType::exec, *frames, limits);
  if (!ok) return base::fail(ok.error());
  if (home) home->note(ExecStep::sent);
  return begin_exec(std::move(*operation),
                    {.home = home,
                     .reattach = command.reattach,
                     .kills = !command.detached,
                     .has_name = !command.id.empty()},
                    limits);
}

Result<Exec> AgentClient::attach_exec(const std::string& id, const ExecAttachOptions& options,
                                      const std::shared_ptr<StreamHome>& home,
                                      const Limits& limits) {
  const auto request = exec_attach_request(id, options);
  if (!request) return base::fail(request.error());
  auto operation = Operation::open(link_, "attach to an exec", limits);
  if (!operation) return base::fail(operation.error());
  auto ok = operation->send(FrameType::exec_attach, encode_message(*request), limits);
  if (!ok) return base::fail(ok.error());
  return begin_exec(std::move(*operation),
                    {.home = home, .reattach = options.reattach, .has_name = true}, limits);
}

Result<std::vector<ExecInfo>> AgentClient::list_execs(const Limits& limits) {
  auto operation = Operation::open(link_, "list execs", limits);
  if (!operation) return base::fail(operation.error());
  auto sent = operation->send(FrameType::exec_list, {}, limits);
  if (!sent) return base::fail(sent.error());
  std::vector<ExecInfo> infos;
  for (;;) {
    const auto frame = operation->receive(limits);
    if (!frame) return base::fail(frame.error());
    if (frame->type == FrameType::ok) return infos;
    if (frame->type != FrameType::exec_info || infos.size() == kMaxListedExecs) {
      return operation->unexpected(*frame);
    }
    const auto info = decode_message<microvm_agent_ExecInfo>(frame->body);
    if (!info) return base::fail(info.error());
    infos.push_back(to_exec_info(*info));
  }
}

Result<void> AgentClient::signal_exec(const std::string& id, int signal, const Limits& limits) {
  if (const auto checked = signal_request(signal); !checked) return base::fail(checked.error());
  microvm_agent_ExecSignalRequest request{};
  if (auto ok = set_text(request.id, id, "exec id"); !ok) return ok;
  request.signal = static_cast<uint32_t>(signal);
  auto operation = Operation::open(link_, "signal an exec", limits);
  if (!operation) return base::fail(operation.error());
  auto sent = operation->send(FrameType::exec_signal, encode_message(request), limits);
  if (!sent) return sent;
  return operation->expect_ok(limits);
}

Result<ExitStatus> AgentClient::wait_exec(const std::string& id,
                                          const std::shared_ptr<StreamHome>& home,
                                          const Limits& begin, const Limits& limits) {
  const std::string what = "wait for an exec";
  microvm_agent_ExecWaitRequest request{};
  if (auto ok = set_text(request.id, id, "exec id"); !ok) return base::fail(ok.error());
  auto operation = Operation::open(link_, what, begin);
  if (!operation) return base::fail(operation.error());
  auto sent = operation->send(FrameType::exec_wait, encode_message(request), begin);
  if (!sent) return base::fail(sent.error());
  const auto known = operation->receive(begin);
  if (!known) return base::fail(known.error());
  if (known->type != FrameType::exec_info) return operation->unexpected(*known);
  const auto frame = operation->try_receive(limits);
  if (!frame) return base::fail(frame.error());
  if (!*frame) {
    return base::fail(home ? home->why_ended(*link_, what) : link_->broken(what));
  }
  if ((*frame)->type != FrameType::exited) return operation->unexpected(**frame);
  const auto exited = decode_message<microvm_agent_Exited>((*frame)->body);
  if (!exited) return base::fail(exited.error());
  operation->collect(kForgetLimit, limits);
  return to_exit_status(*exited);
}

}  // namespace host
}  // namespace microvm
