// One change of a Vm's state at a time, in this process and among all of them. Many may wait for
// the same resume; it is done once.
#pragma once

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
  // beyond `patience`; within it, and the limits of the caller, it is.
  static Result<Transition> begin_in_any_case(Impl& vm, const host::Limits& patience,
                                              const host::Limits& limits, std::string_view what) {
    auto transition = begin_among_all(vm, patience, what);
    if (transition) return transition;
    if (auto ok = limits.check(what); !ok) return base::fail(ok.error());
    return begin_here(vm, patience, what);
  }

  Transition(Transition&& other) noexcept
      : vm_(std::exchange(other.vm_, nullptr)), hold_(std::move(other.hold_)) {}
  Transition& operator=(Transition&&) = delete;
  ~Transition() {
    if (vm_ == nullptr) return;
    hold_.reset();
    vm_->live_.end_change();
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
    transition->hold_ = vm.live_.change_hold();
    if (transition->hold_) return transition;
    auto hold = host::hold_change(vm.dir, limits, what);
    if (!hold) return base::fail(hold.error());
    transition->hold_ = std::move(*hold);
    vm.live_.keep_change_hold(transition->hold_);
    return transition;
  }

  static Result<Transition> begin_here(Impl& vm, const host::Limits& limits,
                                       std::string_view what) {
    if (auto ok = vm.live_.begin_change(limits, what); !ok) return base::fail(ok.error());
    return Transition(vm);
  }

  Impl* vm_;
  host::ChangeHold hold_;
};

struct Vm::Impl::Awake {
  Transition change;
  std::shared_ptr<Session> session;
};

// From hold() to its end other callers find the Vm asleep: they wait for all of the resume, its
// hook too. Used inside a Transition.
class Vm::Impl::Waking {
 public:
  explicit Waking(Impl& vm) : vm_(vm) {}
  ~Waking() { vm_.live_.end_wake(); }
  Waking(const Waking&) = delete;
  Waking& operator=(const Waking&) = delete;

  void hold() { vm_.live_.begin_wake(); }

 private:
  Impl& vm_;
};

}  // namespace microvm
