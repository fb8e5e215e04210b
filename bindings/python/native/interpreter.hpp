// The interpreter's lock (GIL): given up around everything that may wait.
#pragma once

#include <Python.h>

namespace microvm::python {

// Without the GIL for its lifetime. Nothing of Python may be touched meanwhile.
class Unlocked {
 public:
  Unlocked() : state_(PyEval_SaveThread()) {}
  // Not noexcept: an interpreter that ends may end the thread here, which unwinds it.
  ~Unlocked() noexcept(false) { take_back(); }
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

  // The GIL for a while, on the thread that gave it up.
  void take_back();
  void give_up() { state_ = PyEval_SaveThread(); }

 private:
  PyThreadState* state_;
};

// Signal handlers and KeyboardInterrupt come on this thread only.
bool on_main_thread();
// Called once, at import.
void find_main_thread();
// In a forked child: the thread that forked is the main one there.
void take_main_thread();

bool finalizing();

}  // namespace microvm::python
