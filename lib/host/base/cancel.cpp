#include "microvm/cancel.hpp"

#include <sys/eventfd.h>

#include <atomic>

#include "base/fd.hpp"
#include "host/base/home_process.hpp"

namespace microvm {

struct [[gnu::visibility("hidden")]] CancelToken::State {
  // Without an eventfd (fd table full) the token still works; only waits notice it late.
  base::Fd event{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::atomic<bool> cancelled{false};
  const host::HomeProcess home;
};

static_assert(std::atomic<bool>::is_always_lock_free, "cancel() runs in signal handlers");

CancelToken::CancelToken() : state_(std::make_shared<State>()) {}

void CancelToken::cancel() noexcept {
  const int saved_errno = errno;
  state_->cancelled.store(true, std::memory_order_release);
  // A forked child has a copy of the flag, and shares the eventfd with the calls of its parent.
  if (!state_->home.is_here()) return;
  const uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(state_->event.get(), &one, sizeof one);
  errno = saved_errno;
}

bool CancelToken::cancelled() const noexcept {
  return state_->cancelled.load(std::memory_order_acquire);
}

int CancelToken::fd() const noexcept {
  return state_->home.is_here() ? state_->event.get() : -1;
}

}  // namespace microvm
