// When a Vm is put to sleep, how long it may sleep, how long it may live.
#pragma once

#include <chrono>
#include <memory>

#include "microvm/error.hpp"

namespace microvm {

// Given with the start, or anew with a resume (ResumeOptions); recorded with the Vm. Error
// invalid_argument: a negative time. Carried out by the Runtime that started or resumed the Vm, as
// long as it is open; its times count from there. A Runtime keeps no Vm that outlives its owner: of
// one, the policy ends there with the last copy of the Vm handle that started or resumed it and the
// last KeepAwake of that handle. Zero times mean never. A Vm is idle while none of this holds:
// somebody is attached to a program of exec, waits for its end, or is attached to a terminal; bytes
// move between the host and its ports; its programs use more CPU than the threshold; a KeepAwake is
// held, or the file /run/microvm/keep-awake is there in the guest.
struct IdlePolicy {
  std::chrono::milliseconds idle_after{0};     // idle without a break: then it is suspended
  std::chrono::milliseconds suspended_for{0};  // asleep without a break: then it is terminated
  // Since it was started: then it is terminated, asleep or not.
  std::chrono::milliseconds lifetime{0};
  bool lifetime_counts_sleep = false;  // false: the time asleep is not part of the lifetime
  double cpu_threshold = 0.05;         // of one CPU, averaged between two looks at it
  // False: calls that need the guest of a suspended Vm fail with busy until resume() is called.
  bool auto_resume = true;
  bool operator==(const IdlePolicy&) const = default;
};

// Keeps a Vm from being idle as long as it lives, in the policy that its own handle of the Vm
// carries out. A handle of attach() carries out none before it has resumed the Vm, so that its
// KeepAwake has no effect on the policy that runs elsewhere; the file in the guest has. Only of a
// Vm that dies with this Runtime does attach() give the handle that carries it out. Movable; any
// thread.
class MICROVM_API KeepAwake {
 public:
  struct Impl;
  explicit KeepAwake(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace microvm
