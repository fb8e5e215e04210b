// Threads of the bindings, which the interpreter does not know.
#pragma once

namespace microvm::python {

// Nobody joins it, and it takes no signal: those of the process are for its other threads. False:
// no thread can be made.
bool start_thread(const char* name, void* (*body)(void*), void* argument);

}  // namespace microvm::python
