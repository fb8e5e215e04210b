// Vm::Impl: one microVM as this process sees it, started here or attached to. Its worker comes and
// goes: a suspended Vm has none, and another process may have suspended or resumed it, so what is
// so is asked of the directory whenever there is no conversation with a worker. What may change
// while several threads look is in a LiveState; all else here is what is done about it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>

#include "base/thread_annotations.hpp"
#include "host/saved/how_it_ended.hpp"
#include "host/saved/vm_record.hpp"
#include "host/vm/core.hpp"
#include "host/vm/live_state.hpp"
#include "host/vm/log_search.hpp"
#include "host/vm/pending_connect.hpp"
#include "host/worker/capture.hpp"
#include "host/worker/start_worker.hpp"
#include "microvm/image.hpp"
#include "microvm/vm.hpp"

namespace microvm {

struct [[gnu::visibility("hidden")]] Vm::Impl : std::enable_shared_from_this<Vm::Impl> {
  using Session = host::VmSession;

  Impl(std::shared_ptr<host::Core> shared, host::VmRecord what, ImageConfig image_config);
  // Ends a Vm that dies with its owner when this is the owner; lets any other one be, once a
  // suspension of ours is through.
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // Takes over a guest that was just started. `trace`: what its first exec does is marked there.
  void own(host::StartedWorker started, std::shared_ptr<host::StartTrace> trace);
  // Of the first program that is run after a start: what it came to. Any thread.
  void note_exec(host::ExecStep step) MICROVM_EXCLUDES(first_mutex_);
  // Before own(): of a tap that only this process has, for later starts.
  void keep_tap(base::Fd tap) { tap_ = std::move(tap); }
  // For other processes a change of this Vm is under way as long as the caller has `hold`.
  void keep_change_hold(const host::ChangeHold& hold);

  // vm_impl.cpp: the present
  [[nodiscard]] VmState state();
  [[nodiscard]] bool ended() { return state() == VmState::terminated; }
  VmInfo info();
  // The worker, if there is one and its guest does not stand; never wakes a Vm that sleeps.
  std::shared_ptr<Session> running_session();
  // The same unless a change is under way: the agent of a worker that somebody is just starting
  // would end the stream. Asks nothing of the disk where the last call found it running.
  std::shared_ptr<Session> settled_session();
  // The same, after a resume where that is needed and the policy allows it. Errors: vm_gone, busy,
  // those of resume().
  Result<std::shared_ptr<Session>> session(const host::Limits& limits, std::string_view what);
  // Calls `use` with the agent, again when the Vm fell asleep under it.
  template <class Use>
  auto with_agent(const host::Limits& limits, std::string_view what, Use&& use)
      -> decltype(use(std::declval<host::AgentClient&>()));

  // vm_logs.cpp: they ask whatever worker there is, and wake nothing.
  Result<std::string> read_log(LogSource source, const host::Limits& limits);
  // Never blocks as long as the Runtime is there.
  void find_log_later(const std::shared_ptr<host::LogSearch>& search);

  // vm_awaiting.cpp: for any thread, the reactor's too; they never block. `done` is called once, on
  // the reactor's thread and not inside these calls: it must not block, nor hold the last reference
  // to a Vm. It is not called after cancel() of what is returned, nor when the Runtime ends first.
  // When the guest's programs run, woken where that is needed: one resume serves all that wait.
  // Errors: those of session(); deadline_exceeded; busy (RuntimeOptions::max_waiting_calls wait
  // through this handle); vm_gone, when the last handle of the Vm goes. `given_up`: see Awaited.
  std::shared_ptr<host::AwaitedSession> when_awake(std::string_view what,
                                                   std::chrono::milliseconds limit,
                                                   host::AwaitedSession::Done done,
                                                   std::function<bool()> given_up = {});
  // connect() of the Vm. A socket that comes too late, or to a call that was cancelled, is closed.
  std::shared_ptr<host::AwaitedSocket> connect_later(uint16_t port, std::chrono::milliseconds limit,
                                                     host::AwaitedSocket::Done done);

  // vm_end.cpp
  // Why it ended; call only once it has.
  VmEnding end_reason();
  // `still_wanted` is asked once nobody else can change its state; false: it lives on. Limits: see
  // Vm::terminate().
  Result<void> terminate(const std::string& cause = std::string(kCauseCall),
                         const host::Limits& limits = host::Limits({}),
                         const std::function<bool()>& still_wanted = {});
  // Ends it if needed and removes everything.
  Result<void> remove(const host::Limits& limits = host::Limits({}));
  // By an errand, when a conversation is over or the Vm was found to have ended: tells everybody,
  // unless it has not ended, or somebody else does. Comes again while that can not be known.
  void see_end(int looks_left);
  // From now on it is found within moments that it has ended, whoever ended it, without a thread
  // that waits. False: the Runtime is gone, and nobody looks.
  bool watch_end();
  // See Vm::end_fd().
  Result<int> end_fd() {
    watch_end();
    return live_.end_fd();
  }

  // vm_suspend.cpp, vm_wake.cpp
  // Asked when the guest's programs stand: false lets them go on (error busy).
  using StillWanted = std::function<bool(Session&)>;
  // `cause` is for the event (microvm/event.hpp).
  Result<SuspendTimes> suspend(const SuspendOptions& options, const host::Limits& limits,
                               const std::string& cause = std::string(kCauseCall),
                               const StillWanted& still_wanted = {});
  Result<void> resume(const host::Limits& limits, std::string_view cause = kCauseCall,
                      const ResumeOptions& options = {});

  // vm_hooks.cpp
  // The last step of a start: the app's run hook, then everyone is told. Without success it is
  // removed, and the error is the call's. `limits` are the caller's.
  Result<void> begin_run(const std::string& payload, const host::Limits& limits,
                         const host::Stopwatch& clock);

  void tell(VmEvent::Kind kind, const std::string& cause, uint64_t took_us,
            std::string detail = {}) const;
  // That it is terminated.
  void tell_end(const std::string& cause, uint64_t took_us, const VmEnding& reason) const;

  // vm_idle.cpp
  // Inside a change: carries out the policy there is by now.
  void watch_idleness();
  [[nodiscard]] IdlePolicy idle_policy() const MICROVM_EXCLUDES(policy_mutex_);
  // On the disk first. Errors: invalid_argument, those of writing.
  Result<void> replace_policy(const IdlePolicy& policy);
  // Another process may have replaced it.
  void reread_policy();

  // vm_network.cpp: they wake nothing.
  // Error unsupported: its network has no policy.
  [[nodiscard]] Result<void> check_user_network(std::string_view what) const;
  Result<NetworkInfo> network(const host::Limits& limits);
  [[nodiscard]] Result<NetworkPolicy> network_policy() const;
  Result<void> set_network_policy(const NetworkPolicy& policy, const host::Limits& limits);
  [[nodiscard]] Result<NetworkOptions> network_of_forks() const;
  // False: its network does not run.
  Result<bool> read_flow_counters(NetworkCounters& counters, const host::Limits& limits) const;

  // vm_checkpoint.cpp
  Result<CheckpointInfo> checkpoint(const std::string& name, const host::Limits& limits);
  Result<void> rollback(const std::string& id_or_name, const host::Limits& limits);

  // vm_fork.cpp
  Result<std::vector<std::shared_ptr<Impl>>> fork(const ForkOptions& options,
                                                  const host::Limits& limits);

  const std::shared_ptr<host::Core> core;
  const host::VmRecord record;
  const ImageConfig config;
  const std::filesystem::path dir;
  std::atomic<uint32_t> keepers{0};               // KeepAwake handles
  std::atomic<uint64_t> resumes{0};               // by this process
  std::shared_ptr<host::IdleTarget> idle_target;  // none: the policy has no times

 private:
  // One change of state at a time; others wait for it within their limits.
  class Transition;
  // A guest that runs, and does not fall asleep before this ends.
  struct Awake;
  // Around a wake-up.
  class Waking;
  // Around an end.
  class Ending;

  // vm_idle.cpp
  void use_policy(const IdlePolicy& policy) MICROVM_EXCLUDES(policy_mutex_);

  // vm_hooks.cpp: nothing when the image does not have that hook. A failure has been told by an
  // event when they return.
  Result<void> call_hook(Session& session, const HookKind& kind, const std::string& body,
                         const std::string& cause, const host::Limits& limits);
  Result<void> call_run_hook(const std::string& payload, const host::Limits& limits);
  // Of what happens in any case.
  void inform(Session& session, const HookKind& kind, const std::string& cause,
              const host::Limits& limits);
  // After a wake-up; nobody else has reached the guest yet.
  void inform_resumed(const std::string& cause, const host::Limits& limits);

  // vm_logs.cpp
  class LogErrand;
  Result<host::LogText> read_log_at_rest(LogSource source);
  // By an errand.
  void find_log(const std::shared_ptr<host::LogSearch>& search);

  std::shared_ptr<Session> make_session(base::Fd control, host::ControlClient::Peer peer,
                                        host::HeldDoorbell doorbell = {});
  static bool send_to_look_for_end(host::Errands& errands, std::weak_ptr<Impl> vm,
                                   std::chrono::milliseconds delay = {});
  void look_for_end();
  // Of one that came to nothing.
  static void send_to_tell_network(host::Errands& errands, std::weak_ptr<Impl> vm,
                                   wire::NetworkEvent event);
  static constexpr int kEndLooks = 5000;
  static void send_to_see_end(host::Errands& errands, std::weak_ptr<Impl> vm,
                              int looks_left = kEndLooks, std::chrono::milliseconds delay = {});
  // Worth another look: what becomes of it can not be told from what is seen now.
  bool is_undecided(VmState now);
  std::shared_ptr<Session> attach();
  // What is so, as far as this process knows: a conversation that is given out is not over.
  host::LiveState::View look();
  // The state without regard to a change of ours.
  [[nodiscard]] VmState guest_state();
  // The worker, whatever its guest does; for who changes the Vm.
  std::shared_ptr<Session> worker_session();
  // Here or in another process.
  [[nodiscard]] bool is_changing();
  [[nodiscard]] host::VmPhase phase(bool locked_by_us = false);
  // Whether a call that was cut off is worth another attempt: its Vm sleeps, or was woken since.
  bool was_put_to_sleep(const Session& before);

  void begin_waking(const std::string& what);
  void deliver_later(std::shared_ptr<host::AwaitedSession> waiter,
                     Result<std::shared_ptr<Session>> result);
  void try_connect(const std::shared_ptr<host::PendingConnect>& connect,
                   std::chrono::milliseconds limit, int attempts_left);

  // Errors: those of session().
  Result<Awake> hold_awake(const host::Limits& limits, std::string_view what);

  // A capture with the guest's programs stopped around it.
  Result<host::Captured> capture_frozen(Session& session, const host::CaptureOptions& options,
                                        bool must_freeze, const host::Limits& limits,
                                        const StillWanted& still_wanted = {});
  // The layer that the capture put on top: it stays where a record may name those below it.
  enum class NewTop : uint8_t { keep, drop };
  Result<void> run_on(Session& session, NewTop top);
  // The work of a Suspension.
  Result<void> save_and_release(const std::shared_ptr<Session>& session, host::Captured& captured,
                                const host::Suspension::Stop& stop, const std::string& cause,
                                SuspendTimes& times);
  // True when its worker has so many disk layers that the next state is better begun with fewer.
  [[nodiscard]] bool has_many_layers() const;
  // Through the disk and back, which merges them.
  Result<void> shed_layers(const host::Limits& limits);
  void release_worker(Session& session);
  // The app is told before, and once more when nothing comes of it.
  Result<host::Captured> capture_to_suspend(Session& session, const std::string& cause,
                                            const StillWanted& still_wanted,
                                            const host::Limits& limits);
  void take_back(Session& session, const std::string& cause, NewTop top);
  Result<void> wake_in_memory(NewTop top);
  Result<void> check_may_restart(std::string_view what);
  Result<void> start_from_saved(const host::Limits& limits);
  // The lock of one that sleeps; nothing when it no longer does.
  Result<std::optional<base::Fd>> lock_asleep(const host::Limits& limits);
  // Whether a guest of ours was started.
  Result<bool> wake(Waking& waking, const host::Limits& limits);
  Result<host::StartedWorker> start_saved_worker(const host::SavedState& saved, base::Fd lock,
                                                 const host::Limits& limits,
                                                 const host::Stopwatch& clock);

  // Ends the suspension under way, if there is one. True when it leaves the guest standing in its
  // worker, for the caller to wake. Errors: those of the limits; then it goes on, or wakes the
  // guest by itself. let_end: the state that is saved at its end is wanted.
  enum class Stopping : uint8_t { at_once, let_end };
  Result<bool> stop_suspension(Stopping how, const host::Limits& limits, std::string_view what);
  void kill_stranger();
  // Once its conversation is over: the child is reaped, so that its lock is free. Any thread.
  void reap_worker(std::chrono::milliseconds patience = std::chrono::seconds(1));
  void clean_up();
  Result<void> end_suspended(const host::Limits& limits);

  // Of a resume. None: the link is down; of a tap that another process has, this is logged.
  Result<base::Fd> tap_for_resume() const;

  base::Fd tap_;
  host::LiveState live_;
  host::AwakeQueue awake_queue_;
  std::atomic<bool> is_end_watched_{false};
  // What waits for the first answer of a guest that was just started.
  mutable base::Mutex first_mutex_;
  std::optional<host::PoolRefill> refill_ MICROVM_GUARDED_BY(first_mutex_);
  std::shared_ptr<host::StartTrace> trace_ MICROVM_GUARDED_BY(first_mutex_);
  std::atomic<bool> awaits_first_{false};  // there is one of them
  mutable base::Mutex policy_mutex_;
  IdlePolicy policy_ MICROVM_GUARDED_BY(policy_mutex_);      // record.idle: as it began
  uint64_t policies_ MICROVM_GUARDED_BY(policy_mutex_) = 0;  // how often it was replaced
  IdlePolicy watched_policy_;                                // of idle_target; inside a change

  friend class Vm;
};

template <class Use>
auto Vm::Impl::with_agent(const host::Limits& limits, std::string_view what, Use&& use)
    -> decltype(use(std::declval<host::AgentClient&>())) {
  // Each takes a suspend of somebody else.
  constexpr int kAttempts = 100;
  for (int attempt = 1;; ++attempt) {
    auto awake = session(limits, what);
    if (!awake) return base::fail(awake.error());
    auto result = use((*awake)->agent);
    if (result) return result;
    const ErrorCode code = result.error().code;
    if (code != ErrorCode::vm_gone && code != ErrorCode::vm_suspended) return result;
    if (attempt == kAttempts || !was_put_to_sleep(**awake)) return result;
  }
}

}  // namespace microvm
