// One change of a Vm's state at a time. Many may wait for the same resume; it is done once.
#pragma once

#include <mutex>

#include "host/vm/vm_impl.hpp"

namespace microvm {

class Vm::Impl::Transition {
 public:
  // Waits for the change under way. Errors: cancelled, deadline_exceeded.
  static Result<Transition> begin(Impl& vm, const host::Limits& limits, std::string_view what) {
    constexpr std::chrono::milliseconds kCheckInterval{20};
    std::unique_lock lock(vm.transition_, std::defer_lock);
    while (!lock.try_lock_for(kCheckInterval)) {
      if (auto ok = limits.check(what); !ok) return base::fail(ok.error());
    }
    return Transition(std::move(lock));
  }

 private:
  explicit Transition(std::unique_lock<std::timed_mutex> lock) : lock_(std::move(lock)) {}
  std::unique_lock<std::timed_mutex> lock_;
};

// From hold() to its end other callers find the Vm asleep: they wait for the resume hook as they do
// for the rest of the resume. Used inside a Transition.
class Vm::Impl::Waking {
 public:
  explicit Waking(Impl& vm) : vm_(vm) {}
  ~Waking() { set(false); }
  Waking(const Waking&) = delete;
  Waking& operator=(const Waking&) = delete;

  void hold() { set(kResumeHook.is_on(vm_.config.hooks)); }

 private:
  void set(bool waking) {
    const std::scoped_lock lock(vm_.mutex_);
    vm_.waking_ = waking;
  }

  Impl& vm_;
};

}  // namespace microvm
