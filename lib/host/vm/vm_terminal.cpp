// Terminal sessions of a Vm.
#include "host/vm/environment.hpp"
#include "host/vm/vm_impl.hpp"
#include "host/vm/vm_stream_home.hpp"

namespace microvm {

using host::Limits;

namespace {

// A guest that is alive opens a terminal within this, however slow.
constexpr std::chrono::seconds kTerminalCallLimit{60};

}  // namespace

Result<Pty> Vm::pty(const PtyOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const ImageConfig& image = impl_->config;
  auto environment = host::make_environment(image.env, options.env);
  if (!environment) return base::fail(environment.error());
  if (!host::has_variable(options.env, "TERM") && !options.term.empty()) {
    std::erase_if(*environment, [](const auto& variable) { return variable.starts_with("TERM="); });
    environment->push_back("TERM=" + options.term);
  }
  host::PtyCommand command;
  command.program.argv = options.argv;
  command.program.env = std::move(*environment);
  command.program.cwd = options.cwd.empty() ? image.workdir : options.cwd;
  command.program.user = options.user.empty() ? image.user : options.user;
  command.id = options.id;
  command.size = options.size;
  command.writing = options.writing;
  const Limits bounded(limits, kTerminalCallLimit);
  const auto home = host::make_stream_home(impl_);
  return impl_->with_agent(bounded, "open a terminal",
                           [&](auto& agent) { return agent.open_pty(command, home, bounded); });
}

Result<Pty> Vm::attach_pty(const std::string& id, const PtyAttachOptions& options,
                           const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits, kTerminalCallLimit);
  const auto home = host::make_stream_home(impl_);
  return impl_->with_agent(bounded, "attach to a terminal", [&](auto& agent) {
    return agent.attach_pty(id, options, home, bounded);
  });
}

Result<std::vector<PtyInfo>> Vm::ptys(const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits, kTerminalCallLimit);
  return impl_->with_agent(bounded, "list terminals",
                           [&](auto& agent) { return agent.list_ptys(bounded); });
}

Result<void> Vm::close_pty(const std::string& id, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const Limits bounded(limits, kTerminalCallLimit);
  return impl_->with_agent(bounded, "close a terminal",
                           [&](auto& agent) { return agent.close_pty(id, bounded); });
}

}  // namespace microvm
