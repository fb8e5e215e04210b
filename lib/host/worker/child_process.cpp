#include "host/worker/child_process.hpp"

#include <poll.h>

#include <utility>

namespace microvm::host {

void ChildProcess::reap_on(Reactor& reactor) {
  reactor.post([self = shared_from_this(), &reactor] {
    self->watch_ = reactor.loop().watch(self->process_.pidfd(), POLLIN, [self, &reactor](uint32_t) {
      reactor.loop().unwatch(*std::exchange(self->watch_, std::nullopt));
      [[maybe_unused]] const auto exit = self->reap();
    });
  });
}

Result<ChildProcess::Exit> ChildProcess::wait(const sys::WaitLimits& limits) {
  // Readable for good once it has ended, reaped or not.
  const auto ended = sys::wait_fd(process_.pidfd(), POLLIN, limits);
  if (!ended) return base::fail(ended.error());
  return reap();
}

// Only once it has ended: then this does not block.
Result<ChildProcess::Exit> ChildProcess::reap() {
  const std::scoped_lock lock(mutex_);
  if (!exit_) exit_ = process_.wait();
  return *exit_;
}

}  // namespace microvm::host
