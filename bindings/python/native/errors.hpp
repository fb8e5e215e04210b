// Errors of the library as Python's exceptions.
#pragma once

#include <pybind11/pybind11.h>

#include <functional>
#include <string>

#include "microvm/error.hpp"

namespace microvm::python {

namespace py = pybind11;

// What a bound function throws; becomes the class of the code, of libmicrovm.errors.
struct Failure {
  Error error;
};

[[noreturn]] void fail(ErrorCode code, std::string message);

template <class T>
T unwrap(Result<T>&& result) {
  if (!result) throw Failure{std::move(result.error())};
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// An exception that waits to be raised, from where it happened to where the caller is. Only with
// the GIL.
class Raised {
 public:
  // Takes the interpreter's current one.
  void take_current();
  // What `python` throws, if it does.
  void take_thrown(const std::function<void()>& python);
  [[nodiscard]] bool is_there() const { return type_ != nullptr; }
  // Throws it.
  void raise();

 private:
  PyObject* type_ = nullptr;
  PyObject* value_ = nullptr;
  PyObject* trace_ = nullptr;
};

void bind_errors(py::module_& module);

}  // namespace microvm::python
