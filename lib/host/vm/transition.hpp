// One change of a Vm's state at a time, in this process and among all of them. Many may wait for
// the same resume; it is done once.
#pragma once

#include <condition_variable>
#include <mutex>
#include <utility>

#include "host/vm/vm_impl.hpp"

namespace microvm {

class Vm::Impl::Transition {
 public:
  // Waits for the change under way. Errors: busy (RuntimeOptions::max_waiting_calls do already),
  // cancelled, deadline_exceeded, io.
  static Result<Transition> begin(Impl& vm, const host::Limits& limits, std::string_view what) {
    host::WaitingCalls& calls = vm.core->waiting_calls;
    std::optional<host::WaitingCalls::Place> place;
    if (!calls.enter(vm.record.id, place)) {
      return base::fail(ErrorCode::busy, std::string(what) + ": " + std::to_string(calls.most()) +
                                             " calls wait for microvm " + vm.record.id +
                                             " already");
    }
    return begin_among_all(vm, limits, what);
  }
  // The same, however many wait, and a process that does not end its change is not waited for
  // beyond the limits.
  static Result<Transition> begin_in_any_case(Impl& vm, const host::Limits& limits,
                                              std::string_view what) {
    auto transition = begin_among_all(vm, limits, what);
    return transition ? std::move(transition) : begin_here(vm, limits, what);
  }

  Transition(Transition&& other) noexcept
      : vm_(std::exchange(other.vm_, nullptr)), hold_(std::move(other.hold_)) {}
  Transition& operator=(Transition&&) = delete;
  ~Transition() {
    if (vm_ == nullptr) return;
    hold_.reset();
    {
      const std::scoped_lock lock(vm_->change_mutex_);
      vm_->changing_ = false;
    }
    vm_->changed_.notify_one();
  }

  // For what goes on after it: other processes wait for that too.
  [[nodiscard]] host::ChangeHold hold() const { return hold_; }

 private:
  explicit Transition(Impl& vm) : vm_(&vm) {}

  // Here and in other processes.
  static Result<Transition> begin_among_all(Impl& vm, const host::Limits& limits,
                                            std::string_view what) {
    auto transition = begin_here(vm, limits, what);
    if (!transition) return transition;
    // That of a suspension of ours which is not through: a resume goes on from there.
    transition->hold_ = vm.change_hold();
    if (transition->hold_) return transition;
    auto hold = host::hold_change(vm.dir, limits, what);
    if (!hold) return base::fail(hold.error());
    transition->hold_ = std::move(*hold);
    vm.keep_change_hold(transition->hold_);
    return transition;
  }

  static Result<Transition> begin_here(Impl& vm, const host::Limits& limits,
                                       std::string_view what) {
    std::unique_lock lock(vm.change_mutex_);
    while (vm.changing_) {
      if (auto ok = limits.check(what); !ok) return base::fail(ok.error());
      wait(vm, lock, limits);
    }
    vm.changing_ = true;
    return Transition(vm);
  }

  // Only a token has to be looked at again and again: a thousand callers of one resume that did so
  // would leave it no time. Who was woken and finds its own limits over was not waiting any more,
  // and looks at `changing_` before them: no wake-up is lost.
  static void wait(Impl& vm, std::unique_lock<std::mutex>& lock, const host::Limits& limits) {
    constexpr std::chrono::milliseconds kCheckInterval{20};
    if (limits.cancel() != nullptr) {
      vm.changed_.wait_for(lock, kCheckInterval);
    } else if (limits.deadline()) {
      vm.changed_.wait_until(lock, *limits.deadline());
    } else {
      vm.changed_.wait(lock);
    }
  }

  Impl* vm_;
  host::ChangeHold hold_;
};

struct Vm::Impl::Awake {
  Transition change;
  std::shared_ptr<Session> session;
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
