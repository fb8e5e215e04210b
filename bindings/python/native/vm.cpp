// Vm: what it is, and what becomes of it.
#include <unistd.h>

#include "streams.hpp"
#include "vm_handle.hpp"

namespace microvm::python {

namespace {

using VmHandle = Handle<Vm>;

// Closed unless somebody gets it.
class Connection {
 public:
  explicit Connection(int fd) : fd_(fd) {}
  Connection(Connection&& other) noexcept : fd_(other.release()) {}
  Connection& operator=(Connection&&) = delete;
  ~Connection() {
    if (fd_ >= 0) ::close(fd_);
  }
  int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

py::dict info(const VmHandle& vm) {
  Call call{py::none(), py::none()};
  return describe(vm.use(call, [](Vm& v, const CallLimits&) { return v.info(); }));
}

py::dict counters(const VmHandle& vm, py::handle timeout, py::handle cancel) {
  Call call(timeout, cancel);
  return describe(vm.use(call, [](Vm& v, const CallLimits& limits) { return v.counters(limits); }));
}

py::bytes logs(const VmHandle& vm, py::handle given, py::handle timeout, py::handle cancel) {
  const LogSource source = to_log_source("source", given);
  Call call(timeout, cancel);
  return vm.use(call, [&](Vm& v, const CallLimits& limits) { return v.logs(source, limits); });
}

py::dict suspend(const VmHandle& vm, const py::dict& given, py::handle timeout, py::handle cancel) {
  SuspendOptions wanted;
  Options(given).take("wait_durable", wanted.wait_durable);
  Call call(timeout, cancel);
  return describe(
      vm.use(call, [&](Vm& v, const CallLimits& limits) { return v.suspend(wanted, limits); }));
}

void resume(const VmHandle& vm, const py::dict& given, py::handle timeout, py::handle cancel) {
  ResumeOptions wanted;
  Options(given).take("idle", wanted.idle);
  Call call(timeout, cancel);
  vm.use(call, [&](Vm& v, const CallLimits& limits) { return v.resume(wanted, limits); });
}

py::list fork(const VmHandle& vm, const py::dict& given, py::handle timeout, py::handle cancel) {
  const Options options(given);
  ForkOptions wanted;
  options.take("count", wanted.count);
  options.take("name", wanted.name);
  options.take("dies_with_owner", wanted.dies_with_owner);
  options.take("start_timeout", wanted.start_timeout);
  options.take("idle", wanted.idle);
  options.take("run_hook_payload", wanted.run_hook_payload);
  if (const auto network = options.find("network"); !network.is_none()) {
    read_network_options(network, wanted.network.emplace());
  }
  Call call(timeout, cancel);
  auto forks =
      vm.use(call, [&](Vm& v, const CallLimits& limits) { return v.fork(wanted, limits); });
  py::list made;
  for (Vm& one : forks) made.append(make_vm(std::move(one), vm.family()));
  return made;
}

py::dict checkpoint(const VmHandle& vm, const py::dict& given, py::handle timeout,
                    py::handle cancel) {
  CheckpointOptions wanted;
  Options(given).take("name", wanted.name);
  Call call(timeout, cancel);
  return describe(
      vm.use(call, [&](Vm& v, const CallLimits& limits) { return v.checkpoint(wanted, limits); }));
}

void rollback(const VmHandle& vm, py::handle given, py::handle timeout, py::handle cancel) {
  const std::string checkpoint = to_text("checkpoint", given);
  Call call(timeout, cancel);
  vm.use(call, [&](Vm& v, const CallLimits& limits) { return v.rollback(checkpoint, limits); });
}

void terminate(const VmHandle& vm, py::handle timeout, py::handle cancel) {
  Call call(timeout, cancel);
  vm.use(call, [](Vm& v, const CallLimits& limits) { return v.terminate(limits); });
}

std::unique_ptr<Handle<KeepAwake>> keep_awake(const VmHandle& vm) {
  return std::make_unique<Handle<KeepAwake>>(
      "the KeepAwake", vm.look([](Vm& v) { return v.keep_awake(); }), vm.family());
}

int connect(const VmHandle& vm, py::handle given, py::handle timeout, py::handle cancel) {
  const auto port = static_cast<uint16_t>(to_number("port", given, UINT16_MAX));
  Call call(timeout, cancel);
  return vm
      .use(call,
           [&](Vm& v, const CallLimits& limits) -> Result<Connection> {
             const auto fd = v.connect(port, limits);
             if (!fd) return tl::unexpected(fd.error());
             return Connection(*fd);
           })
      .release();
}

}  // namespace

void bind_vm(py::module_& module) {
  Bound<Vm> vm(module, "Vm");
  vm.def("id", [](const VmHandle& v) { return text(v.look([](Vm& named) { return named.id(); })); })
      .def("info", &info)
      .def("launch_times",
           [](const VmHandle& v) {
             return describe(v.look([](Vm& started) { return started.launch_times(); }));
           })
      .def("counters", &counters)
      .def("connect", &connect)
      .def("logs", &logs)
      .def("suspend", &suspend)
      .def("resume", &resume)
      .def("fork", &fork)
      .def("checkpoint", &checkpoint)
      .def("rollback", &rollback)
      .def("keep_awake", &keep_awake)
      .def("terminate", &terminate)
      .def("wait",
           [](const VmHandle& v, py::handle timeout, py::handle cancel) {
             return describe(stream_call<&Vm::try_wait, &Vm::wait>(v, timeout, cancel));
           })
      .def("try_wait", [](const VmHandle& v) { return describe(now_call<&Vm::try_wait>(v)); })
      .def("end_fd", &now_call<&Vm::end_fd, Vm>)
      .def("close", &VmHandle::close)
      .def_property_readonly("closed", &VmHandle::closed);
  Bound<KeepAwake>(module, "KeepAwake")
      .def("close", &Handle<KeepAwake>::close)
      .def_property_readonly("closed", &Handle<KeepAwake>::closed);
  bind_vm_programs(vm);
  bind_vm_files(vm);
  bind_vm_terminals(vm);
  bind_vm_transfer(vm);
  bind_vm_watch(vm);
  bind_vm_network(vm);
  bind_follow(vm);
}

}  // namespace microvm::python
