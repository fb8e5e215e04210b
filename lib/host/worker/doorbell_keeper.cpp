#include "host/worker/doorbell_keeper.hpp"

#include <poll.h>

#include <utility>

namespace microvm::host {

void DoorbellKeeper::answer(base::Fd stream) {
  stop_watching();
  // The kernel's pool is stirred again, never with the same bytes.
  if (auto fresh = make_identity(identity_.hostname)) identity_.seed = fresh->seed;
  doorbell_.emplace(std::move(stream), identity_);
  watch_ = reactor_.loop().watch(doorbell_->fd(), POLLIN,
                                 [self = shared_from_this()](uint32_t) { self->on_readable(); });
  on_readable();  // tells the agent who it is
}

void DoorbellKeeper::on_readable() {
  const auto ready = doorbell_->advance();
  if (ready && !*ready) return;
  stop_watching();
  if (!ready) doorbell_.reset();
}

void DoorbellKeeper::stop_watching() {
  if (watch_) reactor_.loop().unwatch(*std::exchange(watch_, std::nullopt));
}

}  // namespace microvm::host
