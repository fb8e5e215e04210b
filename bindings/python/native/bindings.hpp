// One function per noun, each in a file of its own: pybind11 compiles slowly.
#pragma once

#include <pybind11/pybind11.h>

#include "arguments.hpp"
#include "handle.hpp"
#include "microvm/runtime.hpp"

namespace microvm::python {

namespace py = pybind11;
using py::literals::operator""_a;

template <class T>
using Bound = py::class_<Handle<T>>;

void bind_cancel(py::module_& module);
void bind_runtime(py::module_& module);
void bind_images(Bound<Runtime>& runtime);
void bind_vms(Bound<Runtime>& runtime);
void bind_vm(py::module_& module);
void bind_vm_programs(Bound<Vm>& vm);
void bind_vm_files(Bound<Vm>& vm);
void bind_vm_terminals(Bound<Vm>& vm);
void bind_vm_transfer(Bound<Vm>& vm);
void bind_vm_watch(Bound<Vm>& vm);
void bind_vm_network(Bound<Vm>& vm);
void bind_exec(py::module_& module);
void bind_pty(py::module_& module);
void bind_watch(py::module_& module);
void bind_probe(py::module_& module);
void bind_log_stream(py::module_& module);
void bind_flow_stream(py::module_& module);
void bind_event_stream(py::module_& module);
void bind_vm_start(py::module_& module);
void bind_follow(Bound<Runtime>& runtime);
void bind_follow(Bound<Vm>& vm);

void read_run_options(const Options& options, RunOptions& out);
// A NetworkOptions of the package.
void read_network_options(py::handle value, NetworkOptions& out);

}  // namespace microvm::python
