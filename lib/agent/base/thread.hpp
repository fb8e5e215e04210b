// Detached threads with small stacks: there may be one per operation.
#pragma once

#include <pthread.h>

#include <cstddef>
#include <memory>
#include <utility>

namespace microvm::agent {

inline constexpr size_t kThreadStackBytes = 128 * 1024;

// 0, or the errno of why there is no thread.
[[nodiscard]] int start_raw_thread(void* (*run)(void*), void* argument);

// Takes anything callable without arguments; it is destroyed on the new thread.
template <class Body>
[[nodiscard]] int start_thread(Body body) {
  auto owned = std::make_unique<Body>(std::move(body));
  const int error = start_raw_thread(
      [](void* argument) -> void* {
        const std::unique_ptr<Body> mine(static_cast<Body*>(argument));
        (*mine)();
        return nullptr;
      },
      owned.get());
  if (error == 0) static_cast<void>(owned.release());
  return error;
}

}  // namespace microvm::agent
