// Pty: one client of a terminal; and the Vm's calls for them.
#include "streams.hpp"

namespace microvm::python {

namespace {

using VmHandle = Handle<Vm>;
using PtyHandle = Handle<Pty>;
using PtyPointer = std::unique_ptr<PtyHandle>;

// SIGHUP, after 5 s SIGKILL.
constexpr std::chrono::seconds kHangUpLimit{8};

py::object output(const std::optional<PtyOutput>& read) {
  if (!read) return py::none();
  return py::make_tuple(bytes(read->data), read->lost_bytes);
}

PtyPointer make_pty(Pty&& pty, const VmHandle& vm) {
  return std::make_unique<PtyHandle>("the Pty", std::move(pty), vm.family());
}

PtyOptions pty_options(const Options& options) {
  PtyOptions wanted;
  options.take("argv", wanted.argv);
  options.take_environment("env", wanted.env);
  options.take("cwd", wanted.cwd);
  options.take("user", wanted.user);
  options.take("size", wanted.size);
  options.take("term", wanted.term);
  options.take("id", wanted.id);
  options.take("writing", wanted.writing);
  return wanted;
}

// One that nobody gets is closed: dropping it would only detach.
struct StartedPty {
  Pty pty;
  std::shared_ptr<Vm> vm;
};

void abandon(StartedPty& started) {
  static_cast<void>(
      started.vm->close_pty(std::string(started.pty.id()), {.timeout = kHangUpLimit}));
}

PtyPointer pty(const VmHandle& vm, const py::dict& given, py::handle timeout, py::handle cancel) {
  const PtyOptions wanted = pty_options(Options(given));
  Call call(timeout, cancel);
  auto started = vm.share(call, [&](const auto& v, const CallLimits& limits) -> Result<StartedPty> {
    auto pty = v->pty(wanted, limits);
    if (!pty) return tl::unexpected(pty.error());
    return StartedPty{std::move(*pty), v};
  });
  let_go(std::move(started.vm));
  return make_pty(std::move(started.pty), vm);
}

PtyPointer attach_pty(const VmHandle& vm, py::handle given_id, const py::dict& given,
                      py::handle timeout, py::handle cancel) {
  const std::string id = to_text("id", given_id);
  const Options options(given);
  PtyAttachOptions wanted;
  options.take("write", wanted.write);
  options.take("take_over", wanted.take_over);
  options.take("size", wanted.size);
  options.take("position", wanted.position);
  Call call(timeout, cancel);
  auto attached = vm.use(
      call, [&](Vm& v, const CallLimits& limits) { return v.attach_pty(id, wanted, limits); });
  return make_pty(std::move(attached), vm);
}

void close_pty(const VmHandle& vm, py::handle given_id, py::handle timeout, py::handle cancel) {
  const std::string id = to_text("id", given_id);
  Call call(timeout, cancel);
  vm.use(call, [&](Vm& v, const CallLimits& limits) { return v.close_pty(id, limits); });
}

void resize(const PtyHandle& pty, py::handle given, py::handle timeout, py::handle cancel) {
  const PtySize size = to_pty_size("size", given);
  Call call(timeout, cancel);
  pty.use(call, [&](Pty& p, const CallLimits& limits) { return p.resize(size, limits); });
}

void detach(const PtyHandle& pty) {
  pty.look([](Pty& p) {
    p.detach();
    return true;
  });
}

}  // namespace

void bind_vm_terminals(Bound<Vm>& vm) {
  vm.def("pty", &pty)
      .def("attach_pty", &attach_pty)
      .def("ptys",
           [](const VmHandle& v, py::handle timeout, py::handle cancel) {
             return describe(plain_call<&Vm::ptys>(v, timeout, cancel));
           })
      .def("close_pty", &close_pty);
}

void bind_pty(py::module_& module) {
  Bound<Pty> bound(module, "Pty");
  bound
      .def("read",
           [](const PtyHandle& p, py::handle timeout, py::handle cancel) {
             return output(stream_call<&Pty::try_read, &Pty::read>(p, timeout, cancel));
           })
      .def("try_read", [](const PtyHandle& p) { return output(now_call<&Pty::try_read>(p)); })
      .def("write", &write_all<&Pty::write, Pty>)
      .def("try_write", &write_now<&Pty::try_write, Pty>)
      .def("resize", &resize)
      .def("detach", &detach);
  bind_program(bound);
}

}  // namespace microvm::python
