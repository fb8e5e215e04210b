#include "vmm/control/agent_offer.hpp"

namespace microvm::vmm::control {

AgentOffer::~AgentOffer() {
  if (timer_ != 0) loop_.cancel(timer_);
}

void AgentOffer::ring(base::Fd stream) {
  waiting_ = std::move(stream);
  offer();
}

void AgentOffer::offer() {
  if (!waiting_ || timer_ != 0) return;
  Connection* taker = taker_();
  if (taker == nullptr) return;
  if (too_soon(*taker)) {
    timer_ = loop_.after(kPause, [this] {
      timer_ = 0;
      offer();
    });
    return;
  }
  std::vector<base::Fd> fds;
  fds.push_back(std::move(waiting_));
  offered_ = true;
  next_at_ = Clock::now() + kPause;
  taker->send({0, wire::AgentEvent{}}, std::move(fds));
}

// The first one is not held up by whatever else the peer has not read yet.
bool AgentOffer::too_soon(const Connection& taker) const {
  return offered_ && (Clock::now() < next_at_ || taker.has_unread());
}

}  // namespace microvm::vmm::control
