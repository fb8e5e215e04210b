#include "interpreter.hpp"

#include <unistd.h>

#include <pybind11/pybind11.h>

namespace microvm::python {

namespace {

unsigned long main_thread = 0;

// As CPython does from 3.14 on with a thread that comes back after the end: older ones unwind it,
// through frames that are not made for that.
[[noreturn]] void park() {
  for (;;) ::pause();
}

}  // namespace

void Unlocked::take_back() {
  if (state_ == nullptr) return;
  if (finalizing() && !on_main_thread()) park();
  PyEval_RestoreThread(state_);
  state_ = nullptr;
}

bool on_main_thread() {
  return PyThread_get_thread_ident() == main_thread;
}

void find_main_thread() {
  namespace py = pybind11;
  main_thread =
      py::module_::import("threading").attr("main_thread")().attr("ident").cast<unsigned long>();
}

void take_main_thread() {
  main_thread = PyThread_get_thread_ident();
}

bool finalizing() {
#if PY_VERSION_HEX >= 0x030d0000
  return Py_IsFinalizing() != 0;
#else
  return _Py_IsFinalizing() != 0;
#endif
}

}  // namespace microvm::python
