#include "errors.hpp"

#include <utility>

namespace microvm::python {

namespace {

void set_error(const Error& error) {
  const auto make = py::module_::import("libmicrovm.errors").attr("_make");
  // A message may quote what a guest said.
  const auto message = py::reinterpret_steal<py::str>(PyUnicode_DecodeUTF8(
      error.message.data(), static_cast<Py_ssize_t>(error.message.size()), "backslashreplace"));
  const py::object exception = make(static_cast<uint32_t>(error.code), message);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
}

void translate(std::exception_ptr thrown) {
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (const Failure& failure) {
    set_error(failure.error);
  }
}

}  // namespace

void fail(ErrorCode code, std::string message) {
  throw Failure{{code, std::move(message)}};
}

void Raised::take_current() {
  if (is_there()) return PyErr_Clear();
  PyErr_Fetch(&type_, &value_, &trace_);
}

void Raised::take_thrown(const std::function<void()>& python) {
  try {
    python();
    return;
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const Failure& failure) {
    set_error(failure.error);
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  take_current();
}

void Raised::raise() {
  PyErr_Restore(std::exchange(type_, nullptr), std::exchange(value_, nullptr),
                std::exchange(trace_, nullptr));
  throw py::error_already_set();
}

void bind_errors(py::module_& module) {
  static_cast<void>(module);
  py::register_exception_translator(&translate);
}

}  // namespace microvm::python
