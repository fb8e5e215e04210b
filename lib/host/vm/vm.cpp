// The public handle; vm_impl.cpp has what it stands on.
#include "microvm/vm.hpp"

#include <thread>

#include "host/session/collect_output.hpp"
#include "host/vm/vm_impl.hpp"

namespace microvm {

using host::Limits;

namespace {

// A guest that is alive accepts a connection within this, however slow.
constexpr std::chrono::seconds kOperationLimit{60};
constexpr std::chrono::seconds kInfoLimit{10};

void add_frames(NetworkCounters& counters, const wire::NetCounters& device) {
  counters.packets_from_guest = device.frames_from_guest;
  counters.packets_to_guest = device.frames_to_guest;
  counters.packets_dropped =
      device.malformed + device.spoofed + device.no_network + device.overrun + device.unwanted;
}

}  // namespace

Vm::Vm(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

const std::string& Vm::id() const noexcept {
  return impl_->record.id;
}

Result<VmInfo> Vm::info() const {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
  return impl_->info();
}

LaunchTimes Vm::launch_times() const {
  if (!impl_->core->home.is_here()) return {};
  return impl_->live_.times();
}

Result<VmCounters> Vm::counters(const CallLimits& limits) const {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const auto running = impl_->running_session();
  if (!running) {
    return base::fail(ErrorCode::vm_gone, "read counters: microvm " + impl_->record.id + " is " +
                                              vm_state_name(impl_->state()));
  }
  const Limits bounded(limits, kInfoLimit);
  const auto reply = running->client->call(wire::InfoRequest{}, {}, bounded, "read counters");
  if (!reply) return base::fail(reply.error());
  const auto* info = std::get_if<wire::InfoReply>(&reply->message);
  if (info == nullptr) {
    return base::fail(ErrorCode::protocol, "read counters: unexpected answer of the worker");
  }
  VmCounters counters{info->paused, info->exits, info->start_to_run_ns, {}};
  add_frames(counters.network, info->net);
  const auto flows = impl_->read_flow_counters(counters.network, bounded);
  if (!flows) return base::fail(flows.error());
  return counters;
}

Result<ExecResult> Vm::exec_collect(const ExecOptions& options, const CollectOptions& collect,
                                    const CallLimits& call_limits) {
  if (auto ok = impl_->core->home.check(call_limits); !ok) return base::fail(ok.error());
  const Limits limits(call_limits);
  ExecOptions with_input = options;
  if (!collect.input.empty()) with_input.stdin_open = true;
  auto program = exec(with_input, call_limits);
  if (!program) return base::fail(program.error());
  return host::collect_output(*program, collect, limits);
}

Result<int> Vm::connect(uint16_t port, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits, kOperationLimit);
  auto stream = impl_->with_agent(bounded, "connect",
                                  [&](auto& agent) { return agent.tcp_connect(port, bounded); });
  if (!stream) return base::fail(stream.error());
  return stream->release();
}

Result<void> Vm::terminate(const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  return impl_->terminate(std::string(kCauseCall), Limits(limits));
}

Result<SuspendTimes> Vm::suspend(const SuspendOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  return impl_->suspend(options, Limits(limits));
}

Result<void> Vm::resume(const ResumeOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  return impl_->resume(Limits(limits), kCauseCall, options);
}

Result<CheckpointInfo> Vm::checkpoint(const CheckpointOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  return impl_->checkpoint(options.name, Limits(limits));
}

Result<void> Vm::rollback(const std::string& checkpoint, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  return impl_->rollback(checkpoint, Limits(limits));
}

Result<std::vector<Vm>> Vm::fork(const ForkOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  auto forks = impl_->fork(options, Limits(limits));
  if (!forks) return base::fail(forks.error());
  std::vector<Vm> vms;
  for (auto& fork : *forks) vms.emplace_back(std::move(fork));
  return vms;
}

Result<VmEnding> Vm::try_wait() {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
  const bool is_watched = impl_->watch_end();
  if (const auto ending = impl_->live_.ending()) return *ending;
  if (is_watched || !impl_->ended()) return Limits::would_block("wait for the microvm");
  return impl_->end_reason();
}

Result<int> Vm::end_fd() const {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
  return impl_->end_fd();
}

// One that sleeps has not ended; another process may wake it any time.
Result<VmEnding> Vm::wait(const CallLimits& call_limits) {
  if (auto ok = impl_->core->home.check(call_limits); !ok) return base::fail(ok.error());
  constexpr std::string_view kWhat = "wait for the microvm";
  constexpr std::chrono::milliseconds kAsleepInterval{100};
  const Limits limits(call_limits);
  while (!impl_->ended()) {
    const auto running = impl_->running_session();
    auto waited = running ? running->client->wait_ended(limits, kWhat) : limits.check(kWhat);
    if (!waited) return base::fail(waited.error());
    if (!running) std::this_thread::sleep_for(kAsleepInterval);
  }
  return impl_->end_reason();
}

}  // namespace microvm
