#include "gate.hpp"

#include <thread>

namespace microvm::python {

bool Gate::enter() noexcept {
  inside_.fetch_add(1, std::memory_order_seq_cst);
  if (!closed_.load(std::memory_order_seq_cst)) return true;
  leave();
  return false;
}

void Gate::leave() noexcept {
  inside_.fetch_sub(1, std::memory_order_seq_cst);
}

void Gate::close(std::chrono::milliseconds patience) {
  constexpr std::chrono::milliseconds kLook{1};
  closed_.store(true, std::memory_order_seq_cst);
  const auto end = std::chrono::steady_clock::now() + patience;
  while (inside_.load(std::memory_order_seq_cst) > 0 && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(kLook);
  }
}

Gate& callback_gate() {
  static Gate* const gate = new Gate;  // threads of the library may outlive static objects
  return *gate;
}

}  // namespace microvm::python
