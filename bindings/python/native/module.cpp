// libmicrovm._native: the library's calls for the package around it, which says what they are.
#include "arguments.hpp"
#include "bindings.hpp"
#include "gate.hpp"
#include "process.hpp"

namespace microvm::python {

namespace {

// A callback under way may take this long when the interpreter ends.
constexpr std::chrono::seconds kExitPatience{5};

// The interpreter's exit handler: everything is closed, so that Vms which die with their owner have
// ended, and no thread of the library comes into the interpreter any more.
void close_all() {
  close_families();
  const Unlocked unlocked;
  callback_gate().close(kExitPatience);
}

}  // namespace

PYBIND11_MODULE(_native, module) {
  find_main_thread();
  count_forks();
  module.attr("__version__") = MICROVM_VERSION;
  module.def("_close_all", &close_all);
  bind_errors(module);
  bind_cancel(module);
  bind_runtime(module);
  bind_vm(module);
  bind_exec(module);
  bind_pty(module);
  bind_watch(module);
  bind_probe(module);
  bind_log_stream(module);
  bind_flow_stream(module);
  bind_event_stream(module);
  bind_vm_start(module);
}

}  // namespace microvm::python
