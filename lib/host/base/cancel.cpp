#include "microvm/cancel.hpp"

#include <sys/eventfd.h>

#include <atomic>

#include "base/fd.hpp"

namespace microvm {

struct [[gnu::visibility("hidden")]] CancelToken::State {
  // Without an eventfd (fd table full) the token still works; only waits notice it late.
  base::Fd event{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::atomic<bool> cancelled{false};
};

static_assert(std::atomic<bool>::is_always_lock_free, "cancel() runs in signal handlers");

CancelToken::CancelToken() : state_(std::make_shared<State>()) {}

void CancelToken::cancel() noexcept {
  const int saved_errno = errno;
  state_->cancelled.store(true, std::memory_order_release);
  const uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(state_->event.get(), &one, sizeof one);
  errno = saved_errno;
}

bool CancelToken::cancelled() const noexcept {
  return state_->cancelled.load(std::memory_order_acquire);
}

int CancelToken::fd() const noexcept {
  return state_->event.get();
}

}  // namespace microvm
