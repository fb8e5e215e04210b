#include "process.hpp"

#include <pthread.h>

#include <atomic>

#include "gate.hpp"
#include "interpreter.hpp"

namespace microvm::python {

namespace {

std::atomic<uint32_t> forks{0};

void begin_child() {
  forks.fetch_add(1, std::memory_order_relaxed);
  take_main_thread();
  callback_gate().begin_child();
}

}  // namespace

uint32_t process_number() noexcept {
  return forks.load(std::memory_order_relaxed);
}

void count_forks() {
  ::pthread_atfork(nullptr, nullptr, &begin_child);
}

}  // namespace microvm::python
