// Starts of Vms that no caller waits in: Runtime::start().
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/thread_annotations.hpp"
#include "host/base/home_process.hpp"
#include "host/vm/errands.hpp"
#include "microvm/vm.hpp"
#include "microvm/vm_start.hpp"
#include "sys/event_fd.hpp"

namespace microvm::host {

class OwnedVms;

// Those of one Runtime, carried out by threads of its own: none before the first. Thread-safe.
class VmStarts {
 public:
  using Work = std::function<Result<std::shared_ptr<Vm::Impl>>(const CallLimits&)>;

  explicit VmStarts(OwnedVms& owned) : owned_(owned) {}
  ~VmStarts() { stop(); }
  VmStarts(const VmStarts&) = delete;
  VmStarts& operator=(const VmStarts&) = delete;

  // Nothing stays behind of a `work` that fails. Errors: out_of_memory (no thread), io (no fd).
  Result<std::shared_ptr<VmStart::Impl>> add(Work work) MICROVM_EXCLUDES(mutex_);
  // Removes a Vm that was started and that nobody wants; now, when no thread will.
  void end_later(std::shared_ptr<Vm::Impl> vm);
  // Cancels what is not through, and waits for what is under way. Not from `work`.
  void stop() MICROVM_EXCLUDES(mutex_);

 private:
  friend struct VmStart::Impl;
  class Unwanted;
  uint64_t note(const std::shared_ptr<VmStart::Impl>& start) MICROVM_EXCLUDES(mutex_);
  void forget(uint64_t number) MICROVM_EXCLUDES(mutex_);
  void end(const std::shared_ptr<Vm::Impl>& vm);

  OwnedVms& owned_;
  Errands errands_;
  base::Mutex mutex_;
  uint64_t last_ MICROVM_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, std::weak_ptr<VmStart::Impl>> pending_ MICROVM_GUARDED_BY(mutex_);
};

}  // namespace microvm::host

namespace microvm {

// One start: of the handle, and of the thread that carries it out. Thread-safe.
struct [[gnu::visibility("hidden")]] VmStart::Impl {
  explicit Impl(host::VmStarts::Work what) : work_(std::move(what)) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // By the thread, once.
  void carry_out(host::VmStarts& starts);
  // False: it is through. `why` is the message of take().
  bool give_up(const char* why) MICROVM_EXCLUDES(mutex_);
  void cancel() MICROVM_EXCLUDES(mutex_);
  Result<Vm> try_take() MICROVM_EXCLUDES(mutex_);
  [[nodiscard]] int fd() const { return over_.get(); }

  const host::HomeProcess home;

 private:
  // The result that is there by now counts: then `vm` is given back, for the caller to end.
  std::shared_ptr<Vm::Impl> deliver(Result<std::shared_ptr<Vm::Impl>> result)
      MICROVM_EXCLUDES(mutex_);
  void finish(Result<std::shared_ptr<Vm::Impl>> result) MICROVM_REQUIRES(mutex_);

  const sys::EventFd over_;  // readable for good once it is
  CancelToken token_;
  mutable base::Mutex mutex_;
  host::VmStarts::Work work_ MICROVM_GUARDED_BY(mutex_);
  std::optional<Result<std::shared_ptr<Vm::Impl>>> result_ MICROVM_GUARDED_BY(mutex_);
};

}  // namespace microvm
