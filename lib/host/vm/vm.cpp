// The public handle; vm_impl.cpp has what it stands on.
#include "microvm/vm.hpp"

#include <algorithm>
#include <array>

#include "host/image/build_plan.hpp"
#include "host/vm/read_stream.hpp"
#include "host/vm/vm_impl.hpp"

namespace microvm {

using host::Limits;

namespace {

// A guest that is alive starts a program or accepts a connection within this, however slow.
constexpr std::chrono::seconds kOperationLimit{60};
constexpr std::chrono::seconds kInfoLimit{10};

std::string_view variable_name(std::string_view assignment) {
  return assignment.substr(0, assignment.find('='));
}

bool has_variable(const std::vector<std::string>& env, std::string_view name) {
  return std::ranges::any_of(env, [&](const auto& have) { return variable_name(have) == name; });
}

// The image's variables with the caller's over them, and a PATH in any case.
std::vector<std::string> merge_environment(const std::vector<std::string>& image,
                                           const std::vector<std::string>& own) {
  std::vector<std::string> merged;
  for (const auto& assignment : image) {
    if (!has_variable(own, variable_name(assignment))) merged.push_back(assignment);
  }
  merged.insert(merged.end(), own.begin(), own.end());
  if (!has_variable(merged, "PATH")) merged.emplace_back(host::kDefaultPath);
  return merged;
}

Result<void> check_environment(const std::vector<std::string>& env) {
  for (const auto& assignment : env) {
    if (variable_name(assignment).empty() || assignment.find('=') == std::string::npos) {
      return base::fail(ErrorCode::invalid_argument,
                        "environment \"" + host::one_line(assignment) + "\": not NAME=value");
    }
  }
  return {};
}

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
  if (auto ok = check_environment(options.env); !ok) return base::fail(ok.error());
  const ImageConfig& image = impl_->config;
  host::AgentCommand command;
  command.argv = options.argv;
  command.env = merge_environment(image.env, options.env);
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
