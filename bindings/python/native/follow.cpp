// What is followed: logs of a Vm, events of the data directory; and a Vm on its way.
#include "streams.hpp"
#include "vm_handle.hpp"

namespace microvm::python {

namespace {

using VmHandle = Handle<Vm>;
using RuntimeHandle = Handle<Runtime>;
using LogHandle = Handle<LogStream>;
using EventHandle = Handle<EventStream>;
using StartHandle = Handle<VmStart>;

std::unique_ptr<LogHandle> follow_logs(const VmHandle& vm, py::handle given, py::handle timeout,
                                       py::handle cancel) {
  const LogSource source = to_log_source("source", given);
  Call call(timeout, cancel);
  auto stream =
      vm.use(call, [&](Vm& v, const CallLimits& limits) { return v.follow_logs(source, limits); });
  return std::make_unique<LogHandle>("the LogStream", std::move(stream), vm.family());
}

std::unique_ptr<EventHandle> events(const RuntimeHandle& runtime, const py::dict& given,
                                    py::handle timeout, py::handle cancel) {
  EventOptions wanted;
  Options(given).take("follow", wanted.follow);
  Call call(timeout, cancel);
  auto stream = runtime.use(
      call, [&](Runtime& r, const CallLimits& limits) { return r.events(wanted, limits); });
  return std::make_unique<EventHandle>("the EventStream", std::move(stream), runtime.family());
}

template <auto method>
auto start(const char* name) {
  return [name](const RuntimeHandle& runtime, py::handle given_source, const py::dict& given) {
    const std::string source = to_text(name, given_source);
    RunOptions wanted;
    read_run_options(Options(given), wanted);
    auto started = unwrap(runtime.look([&](Runtime& r) { return (r.*method)(source, wanted); }));
    return std::make_unique<StartHandle>("the VmStart", std::move(started), runtime.family());
  };
}

py::object piece(const std::optional<std::string>& read) {
  return read ? py::object(py::bytes(*read)) : py::none();
}

void cancel_start(const StartHandle& start) {
  start.look([](VmStart& s) {
    s.cancel();
    return true;
  });
}

}  // namespace

void bind_log_stream(py::module_& module) {
  Bound<LogStream> bound(module, "LogStream");
  bound
      .def("read",
           [](const LogHandle& l, py::handle timeout, py::handle cancel) {
             return piece(stream_call<&LogStream::try_read, &LogStream::read>(l, timeout, cancel));
           })
      .def("try_read", [](const LogHandle& l) { return piece(now_call<&LogStream::try_read>(l)); })
      .def("fd", [](const LogHandle& l) { return peek<&LogStream::fd>(l); });
  bind_closing(bound);
}

void bind_event_stream(py::module_& module) {
  Bound<EventStream> bound(module, "EventStream");
  bound
      .def("next",
           [](const EventHandle& e, py::handle timeout, py::handle cancel) {
             return describe(
                 stream_call<&EventStream::try_next, &EventStream::next>(e, timeout, cancel));
           })
      .def("try_next",
           [](const EventHandle& e) { return describe(now_call<&EventStream::try_next>(e)); })
      .def("fd", [](const EventHandle& e) { return peek<&EventStream::fd>(e); });
  bind_closing(bound);
}

void bind_vm_start(py::module_& module) {
  Bound<VmStart> bound(module, "VmStart");
  bound
      .def("take",
           [](const StartHandle& s, py::handle timeout, py::handle cancel) {
             return make_vm(stream_call<&VmStart::try_take, &VmStart::take>(s, timeout, cancel),
                            s.family());
           })
      .def(
          "try_take",
          [](const StartHandle& s) { return make_vm(now_call<&VmStart::try_take>(s), s.family()); })
      .def("cancel", &cancel_start)
      .def("fd", [](const StartHandle& s) { return peek<&VmStart::fd>(s); });
  bind_closing(bound);
}

void bind_follow(Bound<Vm>& vm) {
  vm.def("follow_logs", &follow_logs);
}

void bind_follow(Bound<Runtime>& runtime) {
  runtime.def("events", &events)
      .def("start", start<&Runtime::start>("image"))
      .def("start_checkpoint", start<&Runtime::start_checkpoint>("id_or_name"));
}

}  // namespace microvm::python
