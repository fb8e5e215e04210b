// Exec: one client of a program.
#include "arguments.hpp"
#include "bindings.hpp"
#include "values.hpp"

namespace microvm::python {

namespace {

using ExecHandle = Handle<Exec>;

py::object output(const std::optional<ExecOutput>& read) {
  if (!read) return py::none();
  const bool is_error = read->stream == ExecOutput::Stream::err;
  return py::make_tuple(is_error ? "err" : "out", bytes(read->data), read->lost_bytes);
}

py::object read(const ExecHandle& exec, py::handle timeout, py::handle cancel) {
  Call call(timeout, cancel);
  return output(exec.use(call, [](Exec& e, const CallLimits& limits) { return e.read(limits); }));
}

void write_stdin(const ExecHandle& exec, py::handle given, py::handle timeout, py::handle cancel) {
  const Bytes data("data", given);
  Call call(timeout, cancel);
  exec.use(call,
           [&](Exec& e, const CallLimits& limits) { return e.write_stdin(data.span(), limits); });
}

template <auto method>
void act(const ExecHandle& exec, py::handle timeout, py::handle cancel) {
  Call call(timeout, cancel);
  exec.use(call, [](Exec& e, const CallLimits& limits) { return (e.*method)(limits); });
}

void signal(const ExecHandle& exec, py::handle given, py::handle timeout, py::handle cancel) {
  const auto number = static_cast<int>(to_number("signal", given, INT32_MAX));
  Call call(timeout, cancel);
  exec.use(call, [&](Exec& e, const CallLimits& limits) { return e.signal(number, limits); });
}

py::dict wait(const ExecHandle& exec, py::handle timeout, py::handle cancel) {
  Call call(timeout, cancel);
  return describe(exec.use(call, [](Exec& e, const CallLimits& limits) { return e.wait(limits); }));
}

template <auto method>
auto getter() {
  return [](const ExecHandle& exec) { return exec.look([](Exec& e) { return (e.*method)(); }); };
}

}  // namespace

void bind_exec(py::module_& module) {
  Bound<Exec>(module, "Exec")
      .def("read", &read)
      .def("write_stdin", &write_stdin)
      .def("close_stdin", &act<&Exec::close_stdin>)
      .def("signal", &signal)
      .def("detach", &act<&Exec::detach>)
      .def("wait", &wait)
      .def("id", [](const ExecHandle& e) { return text(e.look([](Exec& x) { return x.id(); })); })
      .def("pid", getter<&Exec::pid>())
      .def("position", getter<&Exec::position>())
      .def("writer", getter<&Exec::writer>())
      .def("fd", getter<&Exec::fd>())
      .def("close", &ExecHandle::close)
      .def_property_readonly("closed", &ExecHandle::closed);
}

}  // namespace microvm::python
