// What pybind11 may hand out before it was made: an object of cls.__new__(cls) alone, whose
// __init__ was never called, is memory of the class's own operator new.
#pragma once

#include <cstdlib>
#include <new>

namespace microvm::python {

// Makes that memory zeros, which the class then takes for closed.
struct Zeroed {
  static void* operator new(size_t size) {
    void* memory = std::calloc(1, size);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
  }
  static void operator delete(void* memory) { std::free(memory); }
};

}  // namespace microvm::python
