// A Vm as the idle monitor sees it.
#include "host/idle/idle_monitor.hpp"
#include "host/saved/vm_directory.hpp"
#include "host/vm/vm_impl.hpp"

namespace microvm {

using host::IdleAction;
using host::Limits;

// Holds the Vm awake as long as somebody has it.
struct [[gnu::visibility("hidden")]] KeepAwake::Impl {
  explicit Impl(std::shared_ptr<Vm::Impl> held) : vm(std::move(held)) { ++vm->keepers; }
  ~Impl() { --vm->keepers; }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  const std::shared_ptr<Vm::Impl> vm;
};

namespace {

// A guest that is alive answers within this.
constexpr std::chrono::seconds kLookLimit{10};
constexpr std::chrono::seconds kActLimit{60};

class Target : public host::IdleTarget {
 public:
  explicit Target(std::weak_ptr<Vm::Impl> vm) : vm_(std::move(vm)) {}

  host::IdleJudge::Sight look() override {
    const auto vm = vm_.lock();
    if (!vm)
      return {.state = VmState::terminated, .activity = {}, .kept_awake = false, .resumes = 0};
    host::IdleJudge::Sight sight{.state = vm->state(),
                                 .activity = {},
                                 .kept_awake = vm->keepers.load() > 0,
                                 .resumes = vm->resumes.load()};
    if (sight.state != VmState::running) return sight;
    if (const auto running = vm->settled_session()) {
      if (auto seen = running->agent.activity(Limits({}, kLookLimit))) sight.activity = *seen;
    }
    return sight;
  }

  void act(IdleAction action) override {
    const auto vm = vm_.lock();
    if (!vm) return;
    if (action == IdleAction::suspend_idle) {
      suspend(*vm, kCauseIdle,
              [&](Vm::Impl::Session& guest) { return is_current(*vm) && is_idle(*vm, guest); });
    }
    if (action == IdleAction::suspend_asked) suspend(*vm, kCauseGuest);
    if (action == IdleAction::terminate_slept) {
      terminate(*vm, kCauseSlept,
                [&] { return is_current(*vm) && vm->state() == VmState::suspended; });
    }
    if (action == IdleAction::terminate_lifetime) {
      terminate(*vm, kCauseLifetime, [&] { return is_current(*vm); });
    }
  }

 private:
  // Inside a change: a resume may have brought another policy since the look.
  [[nodiscard]] bool is_current(const Vm::Impl& vm) const { return vm.idle_target.get() == this; }

  // Somebody may have begun to use it since the look: the suspend hook takes its time.
  static bool is_idle(const Vm::Impl& vm, Vm::Impl::Session& guest) {
    if (vm.keepers.load() > 0) return false;
    const auto seen = guest.agent.activity(Limits({}, kLookLimit));
    return !seen || (seen->programs == 0 && !seen->kept_awake);
  }

  static void suspend(Vm::Impl& vm, std::string_view cause,
                      const Vm::Impl::StillWanted& still_wanted = {}) {
    const Limits limits({}, kActLimit + vm.config.hooks.suspend);
    const auto done = vm.suspend({.wait_durable = false}, limits, std::string(cause), still_wanted);
    if (!done) vm.core->log("suspend microvm " + vm.record.id + ": " + done.error().message);
  }

  static void terminate(Vm::Impl& vm, std::string_view cause,
                        const std::function<bool()>& still_wanted = {}) {
    static_cast<void>(vm.terminate(std::string(cause), Limits({}), still_wanted));
  }

  std::weak_ptr<Vm::Impl> vm_;
};

bool has_times(const IdlePolicy& policy) {
  constexpr std::chrono::milliseconds kNever{0};
  return policy.idle_after > kNever || policy.suspended_for > kNever || policy.lifetime > kNever;
}

}  // namespace

// Once for a policy: the judge goes on over suspensions.
void Vm::Impl::watch_idleness() {
  const IdlePolicy policy = idle_policy();
  if (idle_target && policy == watched_policy_) return;
  idle_target.reset();
  if (!has_times(policy)) return;
  watched_policy_ = policy;
  idle_target = std::make_shared<Target>(weak_from_this());
  if (auto ok = core->idle_monitor.add(idle_target, policy); !ok) {
    idle_target.reset();  // the next start tries again
    core->log("idle policy of microvm " + record.id + ": " + ok.error().message);
  }
}

IdlePolicy Vm::Impl::idle_policy() const {
  const base::MutexLock lock(policy_mutex_);
  return policy_;
}

void Vm::Impl::use_policy(const IdlePolicy& policy) {
  const base::MutexLock lock(policy_mutex_);
  policy_ = policy;
  ++policies_;
}

Result<void> Vm::Impl::replace_policy(const IdlePolicy& policy) {
  if (auto ok = host::check_policy(policy); !ok) return ok;
  host::VmRecord with_it = record;
  with_it.idle = policy;
  if (auto ok = host::replace_record(dir, with_it); !ok) return ok;
  use_policy(policy);
  return {};
}

void Vm::Impl::reread_policy() {
  uint64_t before = 0;
  {
    const base::MutexLock lock(policy_mutex_);
    before = policies_;
  }
  const auto now = host::read_record(dir);
  if (!now) return;
  host::VmRecord known = record;
  known.idle = idle_policy();
  // As they are written: a threshold is rounded there.
  if (host::encode_record(*now) == host::encode_record(known)) return;
  const base::MutexLock lock(policy_mutex_);
  if (policies_ != before) return;  // somebody has replaced what was read
  policy_ = now->idle;
  ++policies_;
}

KeepAwake Vm::keep_awake() {
  return KeepAwake(std::make_shared<KeepAwake::Impl>(impl_));
}

}  // namespace microvm
