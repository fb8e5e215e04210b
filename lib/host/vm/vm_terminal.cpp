// Terminal sessions of a Vm.
#include "host/vm/environment.hpp"
#include "host/vm/vm_impl.hpp"

namespace microvm {

using host::Limits;

namespace {

// A guest that is alive opens a terminal within this, however slow.
constexpr std::chrono::seconds kOperationLimit{60};

}  // namespace

Result<Pty> Vm::pty(const PtyOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->check_running("open a terminal"); !ok) return base::fail(ok.error());
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
  return impl_->agent->open_pty(command, Limits(limits, kOperationLimit));
}

Result<Pty> Vm::attach_pty(const std::string& id, const PtyAttachOptions& options,
                           const CallLimits& limits) {
  if (auto ok = impl_->check_running("attach to a terminal"); !ok) return base::fail(ok.error());
  return impl_->agent->attach_pty(id, options, Limits(limits, kOperationLimit));
}

Result<std::vector<PtyInfo>> Vm::ptys(const CallLimits& limits) {
  if (auto ok = impl_->check_running("list terminals"); !ok) return base::fail(ok.error());
  return impl_->agent->list_ptys(Limits(limits, kOperationLimit));
}

Result<void> Vm::close_pty(const std::string& id, const CallLimits& limits) {
  if (auto ok = impl_->check_running("close a terminal"); !ok) return ok;
  return impl_->agent->close_pty(id, Limits(limits, kOperationLimit));
}

}  // namespace microvm
