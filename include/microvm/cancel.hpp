// How a blocking call is cut short: a token another thread cancels, and a time limit.
#pragma once

#include <chrono>
#include <memory>

#include "microvm/error.hpp"

namespace microvm {

// Shared by copies. cancel() may be called from any thread and from a signal handler; every call
// that was given the token then returns ErrorCode::cancelled as soon as it can leave nothing
// behind, and so does every later one.
class MICROVM_API CancelToken {
 public:
  CancelToken();
  void cancel() noexcept;
  [[nodiscard]] bool cancelled() const noexcept;
  // Readable from the moment of cancel() on; owned by the token. For poll(). -1 in a child that was
  // forked since the token was made.
  [[nodiscard]] int fd() const noexcept;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Limits of one call. Default: no token, no time limit beyond the library's own.
struct CallLimits {
  const CancelToken* cancel = nullptr;  // borrowed for the duration of the call
  // 0: none. When it is over the call fails, also where it would not have to wait.
  std::chrono::milliseconds timeout{0};
};

}  // namespace microvm
