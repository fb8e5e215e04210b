// The stream of the guest's agent on its way to who talks to it. A guest can ring as often as it
// likes and its owner be busy meanwhile, so one stream is under way at most: of those that come
// before the owner has taken it, the newest is kept and the others are closed.
#pragma once

#include <chrono>
#include <functional>

#include "base/fd.hpp"
#include "sys/loop.hpp"
#include "vmm/control/connection.hpp"

namespace microvm::vmm::control {

// All functions for the loop's thread.
class AgentOffer {
 public:
  // Bounds what a guest that rings all the time costs whoever answers.
  static constexpr std::chrono::milliseconds kPause{10};

  // `taker`: who is to have it now; null while nobody is there.
  AgentOffer(sys::Loop& loop, std::function<Connection*()> taker)
      : loop_(loop), taker_(std::move(taker)) {}
  ~AgentOffer();
  AgentOffer(const AgentOffer&) = delete;
  AgentOffer& operator=(const AgentOffer&) = delete;

  void ring(base::Fd stream);
  // Somebody came who may take it.
  void offer();

 private:
  using Clock = std::chrono::steady_clock;

  [[nodiscard]] bool too_soon(const Connection& taker) const;

  sys::Loop& loop_;
  const std::function<Connection*()> taker_;
  base::Fd waiting_;
  Clock::time_point next_at_;  // none before it
  sys::Loop::TimerId timer_ = 0;
  bool offered_ = false;  // one at all
};

}  // namespace microvm::vmm::control
