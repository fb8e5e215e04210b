// Where threads of the library come into the interpreter, and what keeps them out when it ends.
#pragma once

#include <atomic>
#include <chrono>

namespace microvm::python {

// A thread that asks a finalizing interpreter for its lock is ended or never comes back. So the
// exit handler closes the gate, and waits for those inside, while the interpreter still works.
class Gate {
 public:
  // False: the interpreter ends, or has ended. Otherwise leave() must follow.
  bool enter() noexcept;
  void leave() noexcept;

  // Without the GIL. A callback that does not come back is waited for as long as `patience`.
  void close(std::chrono::milliseconds patience);

  // In a forked child, which has none of the threads that were inside.
  void begin_child() noexcept { inside_.store(0, std::memory_order_relaxed); }

 private:
  std::atomic<int> inside_{0};
  std::atomic<bool> closed_{false};
};

Gate& callback_gate();

}  // namespace microvm::python
