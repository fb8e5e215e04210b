// Python functions that the library calls.
#pragma once

#include <functional>
#include <string_view>

#include "call.hpp"
#include "microvm/event.hpp"
#include "microvm/files.hpp"
#include "microvm/image.hpp"

namespace microvm::python {

// During a call, on the thread that made it. `function` must be there as long as the call; None is
// no sink. What it raises ends the call.
ProgressSink progress_sink(Call& call, py::handle function);
DataSink data_sink(Call& call, py::handle write);
DataSource data_source(Call& call, py::handle read);

// At any time, on threads of the library, as long as the interpreter is there. What it raises goes
// to sys.unraisablehook.
std::function<void(std::string_view)> log_sink(const char* name, py::handle function);
std::function<void(const VmEvent&)> event_sink(const char* name, py::handle function);

}  // namespace microvm::python
