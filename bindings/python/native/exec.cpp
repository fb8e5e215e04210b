// Exec: one client of a program.
#include "streams.hpp"

namespace microvm::python {

namespace {

using ExecHandle = Handle<Exec>;

py::object output(const std::optional<ExecOutput>& read) {
  if (!read) return py::none();
  const bool is_error = read->stream == ExecOutput::Stream::err;
  return py::make_tuple(is_error ? "err" : "out", bytes(read->data), read->lost_bytes);
}

}  // namespace

void bind_exec(py::module_& module) {
  Bound<Exec> exec(module, "Exec");
  exec.def("read",
           [](const ExecHandle& e, py::handle timeout, py::handle cancel) {
             return output(stream_call<&Exec::try_read, &Exec::read>(e, timeout, cancel));
           })
      .def("try_read", [](const ExecHandle& e) { return output(now_call<&Exec::try_read>(e)); })
      .def("write_stdin", &write_all<&Exec::write_stdin, Exec>)
      .def("try_write_stdin", &write_now<&Exec::try_write_stdin, Exec>)
      .def("close_stdin", &plain_call<&Exec::close_stdin, Exec>)
      .def("try_close_stdin", &now_call<&Exec::try_close_stdin, Exec>)
      .def("detach", &plain_call<&Exec::detach, Exec>);
  bind_program(exec);
}

}  // namespace microvm::python
