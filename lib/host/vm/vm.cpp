// The public handle; vm_impl.cpp has what it stands on.
#include "microvm/vm.hpp"

#include <algorithm>
#include <array>

#include "host/vm/environment.hpp"
#include "host/vm/read_stream.hpp"
#include "host/vm/vm_impl.hpp"

namespace microvm {

using host::Limits;

namespace {

// A guest that is alive starts a program or accepts a connection within this, however slow.
constexpr std::chrono::seconds kOperationLimit{60};
constexpr std::chrono::seconds kInfoLimit{10};

void append_bounded(std::string& to, const std::vector<std::byte>& data, size_t max_bytes) {
  const size_t take = std::min(data.size(), max_bytes - std::min(max_bytes, to.size()));
  to.append(reinterpret_cast<const char*>(data.data()), take);
}

}  // namespace

const char* vm_state_name(VmState state) noexcept {
  static constexpr std::array kNames = {"pending",   "running",     "suspending",
                                        "suspended", "terminating", "terminated"};
  const auto index = static_cast<size_t>(state);
  return index < kNames.size() ? kNames[index] : "unknown";
}

Vm::Vm(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

const std::string& Vm::id() const noexcept {
  return impl_->record.id;
}

Result<VmInfo> Vm::info() const {
  return impl_->info();
}

LaunchTimes Vm::launch_times() const noexcept {
  return impl_->times;
}

Result<VmCounters> Vm::counters() const {
  if (auto ok = impl_->check_running("read counters"); !ok) return base::fail(ok.error());
  const auto reply =
      impl_->client->call(wire::InfoRequest{}, {}, Limits({}, kInfoLimit), "read counters");
  if (!reply) return base::fail(reply.error());
  const auto* info = std::get_if<wire::InfoReply>(&reply->message);
  if (info == nullptr) {
    return base::fail(ErrorCode::protocol, "read counters: unexpected answer of the worker");
  }
  return VmCounters{info->paused, info->exits, info->start_to_run_ns};
}

Result<Exec> Vm::exec(const ExecOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->check_running("exec"); !ok) return base::fail(ok.error());
  const ImageConfig& image = impl_->config;
  auto environment = host::make_environment(image.env, options.env);
  if (!environment) return base::fail(environment.error());
  host::AgentCommand command;
  command.argv = options.argv;
  command.env = std::move(*environment);
  command.cwd = options.cwd.empty() ? image.workdir : options.cwd;
  command.user = options.user.empty() ? image.user : options.user;
  command.timeout_ms = options.timeout_ms;
  command.stdin_open = options.stdin_open;
  return impl_->agent->exec(command, Limits(limits, kOperationLimit));
}

Result<ExecResult> Vm::exec_collect(const ExecOptions& options, const CallLimits& call_limits,
                                    size_t max_bytes) {
  const Limits limits(call_limits);
  auto program = exec(options, call_limits);
  if (!program) return base::fail(program.error());
  ExecResult result;
  for (;;) {
    const auto output = program->read(limits.rest());
    if (!output) return base::fail(output.error());
    if (!*output) break;
    const bool out = (*output)->stream == ExecOutput::Stream::out;
    append_bounded(out ? result.out : result.err, (*output)->data, max_bytes);
  }
  const auto status = program->wait(limits.rest());
  if (!status) return base::fail(status.error());
  result.status = *status;
  return result;
}

Result<int> Vm::connect(uint16_t port, const CallLimits& limits) {
  if (auto ok = impl_->check_running("connect"); !ok) return base::fail(ok.error());
  auto stream = impl_->agent->tcp_connect(port, Limits(limits, kOperationLimit));
  if (!stream) return base::fail(stream.error());
  return stream->release();
}

Result<std::string> Vm::logs(LogSource source) {
  return impl_->read_log(source);
}

Result<void> Vm::follow_logs(LogSource source, const std::function<void(std::string_view)>& sink,
                             const CallLimits& call_limits) {
  const Limits limits(call_limits);
  constexpr std::string_view kWhat = "follow the log";
  if (!impl_->ended()) {
    const auto which =
        source == LogSource::app ? wire::LogsRequest::Which::app : wire::LogsRequest::Which::kernel;
    const auto stream =
        impl_->client->call_for_stream(wire::LogsRequest{which, true}, limits, kWhat);
    if (stream) return host::follow_stream(stream->get(), sink, limits, kWhat);
    if (!impl_->ended()) return base::fail(stream.error());
  }
  const auto text = impl_->read_log(source);
  if (!text) return base::fail(text.error());
  if (!text->empty()) sink(*text);
  return {};
}

Result<void> Vm::terminate() {
  return impl_->terminate();
}

Result<std::string> Vm::wait(const CallLimits& limits) {
  if (impl_->client) {
    auto ended = impl_->client->wait_ended(Limits(limits), "wait for the microvm");
    if (!ended) return base::fail(ended.error());
  }
  return impl_->end_reason();
}

}  // namespace microvm
