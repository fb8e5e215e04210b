#include "let_go.hpp"

#include <utility>

#include "gate.hpp"
#include "interpreter.hpp"
#include "thread.hpp"

namespace microvm::python {

namespace {

thread_local bool is_of_library = false;

void* drop_value(void* value) {
  delete static_cast<std::shared_ptr<void>*>(value);
  callback_gate().leave();
  return nullptr;
}

// Inside the gate, so that the end of the interpreter waits for it. What no thread can be made for
// stays: it ends with the process.
void drop_elsewhere(std::shared_ptr<void> value) {
  auto* last = new std::shared_ptr<void>(std::move(value));
  if (!callback_gate().enter()) return;
  if (!start_thread("microvm-let-go", &drop_value, last)) callback_gate().leave();
}

}  // namespace

LibraryThread::LibraryThread(bool is_one) : before_(is_of_library) {
  if (is_one) is_of_library = true;
}

LibraryThread::~LibraryThread() {
  is_of_library = before_;
}

void let_go(std::shared_ptr<void> value) {
  if (is_of_library) return drop_elsewhere(std::move(value));
  const Unlocked unlocked;
  value.reset();
}

}  // namespace microvm::python
