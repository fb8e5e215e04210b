// Programs in a Vm.
#include <cstring>
#include <optional>

#include "host/base/random.hpp"
#include "host/vm/environment.hpp"
#include "host/vm/vm_impl.hpp"
#include "host/vm/vm_stream_home.hpp"

namespace microvm {

using host::Limits;

namespace {

// A guest that is alive starts a program within this, however slow.
constexpr std::chrono::seconds kExecCallLimit{60};

Result<uint64_t> make_attempt() {
  uint64_t attempt = 0;
  if (auto ok = host::fill_random(std::as_writable_bytes(std::span(&attempt, 1))); !ok) {
    return base::fail(ok.error());
  }
  return attempt | 1;  // 0 is none
}

}  // namespace

Result<Exec> Vm::exec(const ExecOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const ImageConfig& image = impl_->config;
  auto environment = host::make_environment(image.env, options.env);
  if (!environment) return base::fail(environment.error());
  const auto attempt = make_attempt();
  if (!attempt) return base::fail(attempt.error());
  host::ExecCommand command{.program = {.argv = options.argv,
                                        .env = std::move(*environment),
                                        .cwd = options.cwd.empty() ? image.workdir : options.cwd,
                                        .user = options.user.empty() ? image.user : options.user,
                                        .timeout_ms = options.timeout_ms,
                                        .stdin_open = options.stdin_open},
                            .id = options.id,
                            .detached = options.detached,
                            .reattach = options.reattach,
                            .attempt = *attempt};
  const Limits bounded(limits, kExecCallLimit);
  const auto home = host::make_stream_home(impl_);
  return impl_->with_agent(bounded, "exec",
                           [&](auto& agent) { return agent.exec(command, home, bounded); });
}

Result<Exec> Vm::attach_exec(const std::string& id, const ExecAttachOptions& options,
                             const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits, kExecCallLimit);
  const auto home = host::make_stream_home(impl_);
  return impl_->with_agent(bounded, "attach to an exec", [&](auto& agent) {
    return agent.attach_exec(id, options, home, bounded);
  });
}

Result<std::vector<ExecInfo>> Vm::execs(const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits, kExecCallLimit);
  return impl_->with_agent(bounded, "list execs",
                           [&](auto& agent) { return agent.list_execs(bounded); });
}

Result<void> Vm::signal_exec(const std::string& id, int signal, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits, kExecCallLimit);
  return impl_->with_agent(bounded, "signal an exec",
                           [&](auto& agent) { return agent.signal_exec(id, signal, bounded); });
}

Result<ExitStatus> Vm::wait_exec(const std::string& id, const CallLimits& call_limits) {
  if (auto ok = impl_->core->home.check(call_limits); !ok) return base::fail(ok.error());
  const Limits limits(call_limits);
  const Limits bounded(call_limits, kExecCallLimit);
  const auto home = host::make_stream_home(impl_);
  // A suspend of somebody else is told, and not undone.
  std::optional<Error> cut;
  auto ended =
      impl_->with_agent(bounded, "wait for an exec", [&](auto& agent) -> Result<ExitStatus> {
        auto waited = agent.wait_exec(id, home, bounded, limits);
        if (waited || waited.error().code != ErrorCode::vm_suspended) return waited;
        cut = waited.error();
        return ExitStatus{};
      });
  if (cut) return base::fail(*cut);
  return ended;
}

}  // namespace microvm
