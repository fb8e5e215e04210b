// Programs in a Vm, and the way back to them when it was suspended under their handles.
#include <cstring>
#include <optional>

#include "host/base/random.hpp"
#include "host/vm/environment.hpp"
#include "host/vm/vm_impl.hpp"

namespace microvm {

using host::Limits;

namespace {

// A guest that is alive starts a program within this, however slow.
constexpr std::chrono::seconds kExecCallLimit{60};

class VmExecHome final : public host::ExecHome {
 public:
  explicit VmExecHome(std::weak_ptr<Vm::Impl> vm) : vm_(std::move(vm)) {}

  Error why_ended(host::AgentLink& link, std::string_view what) override {
    Error why = link.broken(what);
    const auto vm = vm_.lock();
    if (!vm || !link.over()) return why;
    const VmState now = vm->state();
    if (now == VmState::terminated || now == VmState::terminating) return why;
    return {ErrorCode::vm_suspended, std::string(what) + ": microvm " + vm->record.id +
                                         " was suspended or rolled back: attach again"};
  }

  Result<void> with_link(const Limits& limits, std::string_view what, const Use& use) override {
    const auto vm = vm_.lock();
    if (!vm) {
      return base::fail(ErrorCode::vm_gone,
                        std::string(what) + ": nobody holds the program's microvm any more");
    }
    for (;;) {
      const auto session = vm->session(limits, what);
      if (!session) return base::fail(session.error());
      const auto& link = (*session)->agent.link();
      auto used = use(link);
      if (used || used.error().code != ErrorCode::vm_gone || !link->over() || vm->ended()) {
        return used;
      }
      if (auto ok = limits.check(what); !ok) return ok;
    }
  }

 private:
  const std::weak_ptr<Vm::Impl> vm_;
};

std::shared_ptr<host::ExecHome> home_of(const std::shared_ptr<Vm::Impl>& vm) {
  return std::make_shared<VmExecHome>(vm);
}

Result<uint64_t> make_attempt() {
  uint64_t attempt = 0;
  if (auto ok = host::fill_random(std::as_writable_bytes(std::span(&attempt, 1))); !ok) {
    return base::fail(ok.error());
  }
  return attempt | 1;  // 0 is none
}

}  // namespace

Result<Exec> Vm::exec(const ExecOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
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
  const auto home = home_of(impl_);
  return impl_->with_agent(bounded, "exec",
                           [&](auto& agent) { return agent.exec(command, home, bounded); });
}

Result<Exec> Vm::attach_exec(const std::string& id, const ExecAttachOptions& options,
                             const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
  const Limits bounded(limits, kExecCallLimit);
  const auto home = home_of(impl_);
  return impl_->with_agent(bounded, "attach to an exec", [&](auto& agent) {
    return agent.attach_exec(id, options, home, bounded);
  });
}

Result<std::vector<ExecInfo>> Vm::execs(const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
  const Limits bounded(limits, kExecCallLimit);
  return impl_->with_agent(bounded, "list execs",
                           [&](auto& agent) { return agent.list_execs(bounded); });
}

Result<void> Vm::signal_exec(const std::string& id, int signal, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
  const Limits bounded(limits, kExecCallLimit);
  return impl_->with_agent(bounded, "signal an exec",
                           [&](auto& agent) { return agent.signal_exec(id, signal, bounded); });
}

Result<ExitStatus> Vm::wait_exec(const std::string& id, const CallLimits& call_limits) {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
  const Limits limits(call_limits);
  const Limits bounded(call_limits, kExecCallLimit);
  const auto home = home_of(impl_);
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
