// Where what Python lets go of is ended.
#pragma once

#include <memory>

namespace microvm::python {

// Marks a thread of the library for as long as it is in the interpreter.
class LibraryThread {
 public:
  // `is_one`: otherwise it marks nothing.
  explicit LibraryThread(bool is_one);
  ~LibraryThread();
  LibraryThread(const LibraryThread&) = delete;
  LibraryThread& operator=(const LibraryThread&) = delete;

 private:
  const bool before_;
};

// Drops `value`, and what of the library goes with it, without the GIL. Not on a thread of the
// library: the garbage collector may run there, and a Runtime that is let go of joins its threads.
// There it returns before that is done.
void let_go(std::shared_ptr<void> value);

}  // namespace microvm::python
