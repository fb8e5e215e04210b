// The public handle; vm_impl.cpp has what it stands on.
#include "microvm/vm.hpp"

#include <poll.h>

#include <algorithm>
#include <thread>

#include "host/vm/vm_impl.hpp"

namespace microvm {

using host::Limits;

namespace {

// A guest that is alive accepts a connection within this, however slow.
constexpr std::chrono::seconds kOperationLimit{60};
constexpr std::chrono::seconds kInfoLimit{10};

void append_bounded(std::string& to, const std::vector<std::byte>& data, size_t max_bytes) {
  const size_t take = std::min(data.size(), max_bytes - std::min(max_bytes, to.size()));
  to.append(reinterpret_cast<const char*>(data.data()), take);
}

// What exec_collect() still has to give to its program.
struct CollectInput {
  std::span<const std::byte> rest;
  bool is_over = false;  // all of it and the end were given, or nobody takes them any more

  // What goes without waiting. Why nobody takes it, who reads learns as well.
  void give(Exec& program) {
    while (!is_over) {
      const auto taken = rest.empty() ? program.try_close_stdin().map([] { return size_t{0}; })
                                      : program.try_write_stdin(rest);
      if (!taken && taken.error().code == ErrorCode::would_block) return;
      is_over = !taken || rest.empty();
      if (taken) rest = rest.subspan(*taken);
    }
  }
};

// In one thread: a program that is not read from may not read either.
Result<std::optional<ExecOutput>> give_and_read(Exec& program, CollectInput& input,
                                                const Limits& limits) {
  for (;;) {
    input.give(program);
    if (input.is_over) return program.read(limits.rest());
    auto output = program.try_read();
    if (output || output.error().code != ErrorCode::would_block) return output;
    if (auto ready = limits.wait(program.fd(), POLLIN | POLLOUT, "exec"); !ready) {
      return base::fail(ready.error());
    }
  }
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
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
  const auto running = impl_->running_session();
  if (!running) {
    return base::fail(ErrorCode::vm_gone, "read counters: microvm " + impl_->record.id + " is " +
                                              vm_state_name(impl_->state()));
  }
  const auto reply =
      running->client->call(wire::InfoRequest{}, {}, Limits(limits, kInfoLimit), "read counters");
  if (!reply) return base::fail(reply.error());
  const auto* info = std::get_if<wire::InfoReply>(&reply->message);
  if (info == nullptr) {
    return base::fail(ErrorCode::protocol, "read counters: unexpected answer of the worker");
  }
  return VmCounters{info->paused, info->exits, info->start_to_run_ns};
}

Result<ExecResult> Vm::exec_collect(const ExecOptions& options, const CollectOptions& collect,
                                    const CallLimits& call_limits) {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
  const Limits limits(call_limits);
  CollectInput input{.rest = std::as_bytes(std::span(collect.input)),
                     .is_over = collect.input.empty()};
  ExecOptions with_input = options;
  if (!input.is_over) with_input.stdin_open = true;
  auto program = exec(with_input, call_limits);
  if (!program) return base::fail(program.error());
  ExecResult result;
  for (;;) {
    // What is left is never nothing, and a program that never stops talking is never waited for.
    if (auto ok = limits.check("exec"); !ok) return base::fail(ok.error());
    const auto output = give_and_read(*program, input, limits);
    if (!output) return base::fail(output.error());
    if (!*output) break;
    const bool out = (*output)->stream == ExecOutput::Stream::out;
    append_bounded(out ? result.out : result.err, (*output)->data, collect.max_bytes);
  }
  const auto status = program->wait(limits.rest());
  if (!status) return base::fail(status.error());
  result.status = *status;
  return result;
}

Result<int> Vm::connect(uint16_t port, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
  const Limits bounded(limits, kOperationLimit);
  auto stream = impl_->with_agent(bounded, "connect",
                                  [&](auto& agent) { return agent.tcp_connect(port, bounded); });
  if (!stream) return base::fail(stream.error());
  return stream->release();
}

Result<void> Vm::terminate(const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
  return impl_->terminate(std::string(kCauseCall), Limits(limits));
}

Result<SuspendTimes> Vm::suspend(const SuspendOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
  return impl_->suspend(options, Limits(limits));
}

Result<void> Vm::resume(const ResumeOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
  return impl_->resume(Limits(limits), kCauseCall, options);
}

Result<CheckpointInfo> Vm::checkpoint(const CheckpointOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
  return impl_->checkpoint(options.name, Limits(limits));
}

Result<void> Vm::rollback(const std::string& checkpoint, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
  return impl_->rollback(checkpoint, Limits(limits));
}

Result<std::vector<Vm>> Vm::fork(const ForkOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
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
  impl_->watch_end();
  return impl_->live_.end_fd();
}

// One that sleeps has not ended; another process may wake it any time.
Result<VmEnding> Vm::wait(const CallLimits& call_limits) {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
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
