#include "callbacks.hpp"

#include <cstring>

#include "arguments.hpp"
#include "gate.hpp"
#include "let_go.hpp"
#include "values.hpp"

namespace microvm::python {

namespace {

void check_callable(const char* name, py::handle function) {
  if (PyCallable_Check(function.ptr()) == 0) wrong_type(name, "callable or None", function);
}

tl::unexpected<Error> raised() {
  return tl::unexpected(Error{ErrorCode::cancelled, "the callback raised an exception"});
}

// A function that threads of the library call. It is let go of by whichever of them is the last;
// when the interpreter is gone by then, it stays.
class AnyThread {
 public:
  explicit AnyThread(py::handle function) : function_(function.inc_ref().ptr()) {}
  AnyThread(const AnyThread&) = delete;
  AnyThread& operator=(const AnyThread&) = delete;
  ~AnyThread() {
    within([this] { Py_DECREF(function_); });
  }

  template <class Describe>
  void operator()(Describe&& describe) const {
    within([&] {
      try {
        const py::handle function = function_;
        function(describe());
      } catch (py::error_already_set& error) {
        error.restore();
        PyErr_WriteUnraisable(function_);
      }
    });
  }

 private:
  template <class F>
  static void within(F&& f) {
    if (!callback_gate().enter()) return;
    const LibraryThread here(PyGILState_GetThisThreadState() == nullptr);
    const auto state = PyGILState_Ensure();
    f();
    PyGILState_Release(state);
    callback_gate().leave();
  }

  PyObject* const function_;
};

}  // namespace

ProgressSink progress_sink(Call& call, py::handle function) {
  if (function.is_none()) return {};
  check_callable("progress", function);
  return [&call, function](const Progress& progress) {
    call.on_caller([&] { function(describe(progress)); });
  };
}

DataSink data_sink(Call& call, py::handle write) {
  check_callable("sink", write);
  return [&call, write](std::span<const std::byte> data) -> Result<void> {
    if (!call.on_caller([&] { write(bytes(data)); })) return raised();
    return {};
  };
}

DataSource data_source(Call& call, py::handle read) {
  check_callable("source", read);
  return [&call, read](std::span<std::byte> buffer) -> Result<size_t> {
    size_t size = 0;
    const auto fill = [&] {
      const py::object given = read(buffer.size());
      const Bytes data("what a source returns", given);
      size = data.span().size();
      if (size > buffer.size()) wrong_value("source", "returned more than it was asked for");
      if (size > 0) std::memcpy(buffer.data(), data.span().data(), size);
    };
    if (!call.on_caller(fill)) return raised();
    return size;
  };
}

std::function<void(std::string_view)> log_sink(const char* name, py::handle function) {
  if (function.is_none()) return {};
  check_callable(name, function);
  return [call = std::make_shared<AnyThread>(function)](std::string_view line) {
    (*call)([&] { return text(line); });
  };
}

std::function<void(const VmEvent&)> event_sink(const char* name, py::handle function) {
  if (function.is_none()) return {};
  check_callable(name, function);
  return [call = std::make_shared<AnyThread>(function)](const VmEvent& event) {
    (*call)([&] { return describe(event); });
  };
}

}  // namespace microvm::python
