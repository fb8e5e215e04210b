// Vm: programs and terminals.
#include <csignal>

#include "arguments.hpp"
#include "bindings.hpp"
#include "values.hpp"

namespace microvm::python {

namespace {

using VmHandle = Handle<Vm>;

// Its guest may be stuck, and who has pressed Ctrl-C waits.
constexpr std::chrono::seconds kPatienceWithAbandoned{2};

ExecOptions exec_options(const Options& options) {
  ExecOptions wanted;
  options.need("argv", wanted.argv);
  options.take_environment("env", wanted.env);
  options.take("cwd", wanted.cwd);
  options.take("user", wanted.user);
  std::chrono::milliseconds program_timeout{0};
  options.take("program_timeout", program_timeout);
  if (program_timeout.count() > UINT32_MAX) wrong_value("program_timeout", "longer than 49 days");
  wanted.timeout_ms = static_cast<uint32_t>(program_timeout.count());
  options.take("stdin_open", wanted.stdin_open);
  options.take("id", wanted.id);
  options.take("detached", wanted.detached);
  options.take("reattach", wanted.reattach);
  return wanted;
}

std::unique_ptr<Handle<Exec>> make_exec(Exec&& exec, const VmHandle& vm) {
  return std::make_unique<Handle<Exec>>("the Exec", std::move(exec), vm.family());
}

// One that nobody gets is ended. Dropping does that, but for what is detached.
struct StartedExec {
  Exec exec;
  bool detached;
};

void abandon(StartedExec& started) {
  if (!started.detached) return;
  const CallLimits limits{.timeout = kPatienceWithAbandoned};
  static_cast<void>(started.exec.signal(SIGKILL, limits));
  static_cast<void>(started.exec.wait(limits));
}

std::unique_ptr<Handle<Exec>> exec(const VmHandle& vm, const py::dict& given, py::handle timeout,
                                   py::handle cancel) {
  const ExecOptions wanted = exec_options(Options(given));
  Call call(timeout, cancel);
  auto started = vm.use(call, [&](Vm& v, const CallLimits& limits) -> Result<StartedExec> {
    auto exec = v.exec(wanted, limits);
    if (!exec) return tl::unexpected(exec.error());
    return StartedExec{std::move(*exec), wanted.detached};
  });
  return make_exec(std::move(started.exec), vm);
}

std::unique_ptr<Handle<Exec>> attach_exec(const VmHandle& vm, py::handle given_id,
                                          const py::dict& given, py::handle timeout,
                                          py::handle cancel) {
  const std::string id = to_text("id", given_id);
  const Options options(given);
  ExecAttachOptions wanted;
  options.take("write", wanted.write);
  options.take("take_over", wanted.take_over);
  options.take("position", wanted.position);
  options.take("reattach", wanted.reattach);
  Call call(timeout, cancel);
  auto attached = vm.use(
      call, [&](Vm& v, const CallLimits& limits) { return v.attach_exec(id, wanted, limits); });
  return make_exec(std::move(attached), vm);
}

py::list execs(const VmHandle& vm, py::handle timeout, py::handle cancel) {
  Call call(timeout, cancel);
  return describe(vm.use(call, [](Vm& v, const CallLimits& limits) { return v.execs(limits); }));
}

void signal_exec(const VmHandle& vm, py::handle given_id, py::handle given, py::handle timeout,
                 py::handle cancel) {
  const std::string id = to_text("id", given_id);
  const auto signal = static_cast<int>(to_number("signal", given, INT32_MAX));
  Call call(timeout, cancel);
  vm.use(call, [&](Vm& v, const CallLimits& limits) { return v.signal_exec(id, signal, limits); });
}

py::dict wait_exec(const VmHandle& vm, py::handle given_id, py::handle timeout, py::handle cancel) {
  const std::string id = to_text("id", given_id);
  Call call(timeout, cancel);
  return describe(
      vm.use(call, [&](Vm& v, const CallLimits& limits) { return v.wait_exec(id, limits); }));
}

py::tuple exec_collect(const VmHandle& vm, const py::dict& given, py::handle timeout,
                       py::handle cancel) {
  const Options options(given);
  const ExecOptions wanted = exec_options(options);
  CollectOptions collect;
  options.take("max_bytes", collect.max_bytes);
  const py::object input = options.find("input");
  if (!input.is_none()) collect.input = Bytes("input", input).string();
  Call call(timeout, cancel);
  const ExecResult result = vm.use(call, [&](Vm& v, const CallLimits& limits) {
    return v.exec_collect(wanted, collect, limits);
  });
  return py::make_tuple(describe(result.status), py::bytes(result.out), py::bytes(result.err));
}

}  // namespace

void bind_vm_programs(Bound<Vm>& vm) {
  vm.def("exec", &exec)
      .def("attach_exec", &attach_exec)
      .def("execs", &execs)
      .def("signal_exec", &signal_exec)
      .def("wait_exec", &wait_exec)
      .def("exec_collect", &exec_collect);
}

}  // namespace microvm::python
