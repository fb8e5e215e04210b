// How a Vm ends, and what is removed then.
#include <poll.h>

#include <algorithm>
#include <utility>

#include "host/saved/vm_directory.hpp"
#include "host/vm/transition.hpp"
#include "host/vm/vm_impl.hpp"
#include "sys/file.hpp"
#include "sys/process.hpp"

namespace microvm {

using host::Limits;
using host::VmCall;

namespace {

// For the worker to say that it ends, then to be gone. One that is in the middle of a snapshot, or
// stuck, is killed instead.
constexpr std::chrono::milliseconds kTerminatePatience{1000};
constexpr std::chrono::milliseconds kExitPatience{1000};
// A resume that is under way is bounded by the limits of its caller; after this, and what its hooks
// may take, it has gone wrong.
constexpr std::chrono::seconds kTransitionPatience{60};
// Of a process that only looks at one that sleeps.
constexpr std::chrono::seconds kLockPatience{5};

std::chrono::milliseconds transition_patience(const Hooks& hooks) {
  return kTransitionPatience + std::max({hooks.run, hooks.suspend + hooks.resume});
}

}  // namespace

class Vm::Impl::Ending {
 public:
  explicit Ending(Impl& vm) : vm_(vm) { vm_.live_.begin_end(); }
  ~Ending() { vm_.live_.end_end(); }
  Ending(const Ending&) = delete;
  Ending& operator=(const Ending&) = delete;

 private:
  Impl& vm_;
};

VmEnding Vm::Impl::end_reason() {
  if (const auto known = live_.reason()) return *known;
  reap_worker();
  // The record first: our session may be with a worker of an earlier life.
  auto exit = host::read_exit(dir);
  const auto last = live_.last_session();
  if (!exit && last) exit = last->client->exit_event();
  std::error_code ec;
  VmEnding reason;
  if (exit) {
    reason = host::end_reason(*exit);
  } else if (std::filesystem::exists(dir, ec)) {
    reason = host::killed_reason(live_.killed());
  } else {  // by another process, which has removed it
    reason = host::end_reason({wire::ExitEvent::Reason::terminated, {}, {}});
  }
  send_to_see_end(core->errands, weak_from_this());
  return live_.ended(reason);
}

void Vm::Impl::send_to_see_end(host::Errands& errands, std::weak_ptr<Impl> vm, int looks_left,
                               std::chrono::milliseconds delay) {
  errands.add(
      [vm = std::move(vm), looks_left] {
        if (const auto held = vm.lock()) held->see_end(looks_left);
      },
      delay);
}

// A worker on its way out, or one that another process has started since; or a change under way,
// whose end says what there is to tell and who does.
bool Vm::Impl::is_undecided(VmState now) {
  if (now == VmState::running) return look().session == nullptr;
  if (now == VmState::terminated) return is_changing();
  return now != VmState::suspended || live_.view().phase == host::LivePhase::waking;
}

void Vm::Impl::see_end(int looks_left) {
  constexpr std::chrono::milliseconds kLookAgain{20};
  constexpr int kRunningElsewhere = 20;  // looks that one at a locked directory costs
  const VmState now = state();
  if (looks_left > 0 && is_undecided(now)) {
    const int cost = now == VmState::running ? kRunningElsewhere : 1;
    return send_to_see_end(core->errands, weak_from_this(), looks_left - cost, kLookAgain);
  }
  if (now != VmState::terminated) return;
  const VmEnding reason = end_reason();
  if (!host::claim_end(dir)) return;
  tell_end(std::string(host::cause_of_end(reason, record.dies_with_owner)), 0, reason);
}

bool Vm::Impl::watch_end() {
  if (core->errands.token().cancelled()) return false;
  if (is_end_watched_.exchange(true)) return true;
  is_end_watched_ = send_to_look_for_end(core->errands, weak_from_this());
  return is_end_watched_;
}

bool Vm::Impl::send_to_look_for_end(host::Errands& errands, std::weak_ptr<Impl> vm,
                                    std::chrono::milliseconds delay) {
  return errands.add(
      [vm = std::move(vm)] {
        if (const auto held = vm.lock()) held->look_for_end();
      },
      delay);
}

// The end of a conversation is seen by itself (see_end); what another process does to one that
// sleeps is not.
void Vm::Impl::look_for_end() {
  constexpr std::chrono::milliseconds kWhileAsleep{250};
  constexpr std::chrono::milliseconds kWhileKnown{1000};
  if (ended()) {
    end_reason();
    return;
  }
  const bool is_in_hand = running_session() != nullptr || live_.has_lock();
  send_to_look_for_end(core->errands, weak_from_this(), is_in_hand ? kWhileKnown : kWhileAsleep);
}

// A worker that is not our child and does not answer. The record's process number is only believed
// while the lock shows that its worker lives; opened before, so that it cannot become another
// one's.
void Vm::Impl::kill_stranger() {
  const auto run = host::read_run(dir);
  if (!run || run->worker_pid <= 1) return;
  const auto worker = sys::Process::open(static_cast<pid_t>(run->worker_pid));
  if (!worker || !host::is_locked(dir)) return;
  static_cast<void>(worker->kill());
  static_cast<void>(sys::wait_fd(worker->pidfd(), POLLIN, sys::WaitLimits::within(kExitPatience)));
}

// A resume from here on finds nothing to stop. Its end comes soon, but for a slow disk, or layers
// that are merged.
Result<bool> Vm::Impl::stop_suspension(Stopping how, const Limits& limits, std::string_view what) {
  const auto suspension = live_.take_suspension();
  if (!suspension) return false;
  if (how == Stopping::at_once) suspension->request_stop();
  const auto waited = suspension->wait(limits);
  if (!suspension->over() && suspension->leave()) {
    live_.keep_suspension(suspension);
    return base::fail(waited.error().code,
                      std::string(what) + ": microvm " + record.id + " is still being suspended");
  }
  const auto saved = suspension->wait(Limits({}));
  return !saved && saved.error().code == ErrorCode::cancelled;
}

Result<void> Vm::Impl::terminate(const std::string& cause, const Limits& limits,
                                 const std::function<bool()>& still_wanted) {
  constexpr std::string_view kWhat = "terminate";
  const host::Stopwatch clock;
  const auto change = Transition::begin_in_any_case(
      *this, limits.within(transition_patience(config.hooks)), limits, kWhat);
  if (!change) return base::fail(change.error());
  if (still_wanted && !still_wanted()) return {};
  if (auto ok = limits.check(kWhat); !ok) return ok;
  const bool had_ended = host::judge(VmCall::terminate, guest_state()) == host::Verdict::nothing;
  const auto stopped = stop_suspension(Stopping::at_once, limits, kWhat);
  if (!stopped) return base::fail(stopped.error());
  const bool stands = *stopped;
  const Ending ending(*this);
  if (stands && kTerminateHook.is_on(config.hooks)) static_cast<void>(wake_in_memory(NewTop::drop));
  if (const auto running = worker_session()) {
    inform(*running, kTerminateHook, cause, limits);
    const Limits patience({}, kTerminatePatience);
    // Without an answer it is killed below.
    static_cast<void>(running->client->call(wire::TerminateRequest{}, {}, patience, kWhat));
    static_cast<void>(running->client->wait_ended(patience, kWhat));
    const bool is_child = live_.worker() != nullptr;
    reap_worker(running->client->ended() ? kExitPatience : std::chrono::milliseconds(0));
    if (!is_child && !live_.has_lock()) kill_stranger();
    running->client->close();
  } else if (guest_state() == VmState::suspended) {
    if (auto done = end_suspended(limits); !done) return done;
  }
  const VmEnding reason = end_reason();
  const bool is_ours_to_tell = host::claim_end(dir);
  clean_up();
  if (!is_ours_to_tell) return {};
  if (had_ended) {
    tell_end(std::string(host::cause_of_end(reason, record.dies_with_owner)), 0, reason);
  } else {
    tell_end(cause, clock.us(), reason);
  }
  return {};
}

// It has no worker that could write the record.
Result<void> Vm::Impl::end_suspended(const Limits& limits) {
  const auto lock = lock_asleep(limits.within(kLockPatience));
  if (!lock) return base::fail(lock.error());
  if (!*lock) {
    return base::fail(ErrorCode::busy,
                      "terminate: microvm " + record.id + " is changing its state; try again");
  }
  const wire::ExitEvent exit{wire::ExitEvent::Reason::terminated, {}, {}};
  if (auto ok = host::write_exit((*lock)->get(), exit); !ok) return ok;
  live_.ended(host::end_reason(exit));
  return {};
}

// What is left of a Vm that outlives its owner is its record and logs, until remove().
void Vm::Impl::clean_up() {
  if (!live_.begin_clean_up()) return;
  if (!record.dies_with_owner) return host::remove_remains(dir);
  live_.keep_logs(host::open_logs(dir));
  const auto removed = host::remove_vm(core->store, record.id);
  live_.drop_lock();
  // Another process may have removed it.
  if (!removed && removed.error().code != ErrorCode::not_found) {
    core->log("remove microvm " + record.id + ": " + removed.error().message);
  }
}

Result<void> Vm::Impl::remove(const Limits& limits) {
  if (auto ended = terminate(std::string(kCauseCall), limits); !ended) return ended;
  auto removed = host::remove_vm(core->store, record.id);
  if (!removed && removed.error().code == ErrorCode::not_found) return {};
  return removed;
}

}  // namespace microvm
