// The idle policy's decisions, from what is seen of a Vm and when. No clock and no Vm in it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "host/session/agent_client.hpp"
#include "microvm/idle.hpp"
#include "microvm/vm.hpp"

namespace microvm::host {

enum class IdleAction { none, suspend_idle, suspend_asked, terminate_slept, terminate_lifetime };

// One Vm, one thread.
class IdleJudge {
 public:
  using Time = std::chrono::steady_clock::time_point;
  IdleJudge(const IdlePolicy& policy, Time now);

  struct Sight {
    VmState state = VmState::running;
    std::optional<GuestActivity> activity;  // none: the guest could not be asked; it is not idle
    bool kept_awake = false;                // by a KeepAwake
    uint64_t resumes = 0;                   // so far: the time counts anew from each
  };
  // What is to be done now.
  IdleAction look(Time now, const Sight& sight);

  // When to look again, at the latest.
  [[nodiscard]] std::chrono::milliseconds interval() const;

 private:
  [[nodiscard]] bool is_idle(Time now, const Sight& sight) const;
  void remember(Time now, const Sight& sight);
  [[nodiscard]] std::chrono::milliseconds age(Time now) const;

  IdlePolicy policy_;
  Time started_;
  Time last_look_;
  std::chrono::steady_clock::duration slept_{0};
  std::optional<Time> asleep_since_;
  Time busy_at_;
  std::optional<GuestActivity> last_;  // of the same run
  uint64_t resumes_ = 0;
};

}  // namespace microvm::host
