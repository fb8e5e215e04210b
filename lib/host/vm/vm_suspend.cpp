// Suspend. It is over for its caller when the guest has stopped and its state is taken; it is
// durable when that state is committed (suspension.hpp). Until then the worker keeps the paused
// guest: a resume needs nothing but it, and when this process dies it goes on by itself.
#include "host/base/beside.hpp"
#include "host/saved/layer_checks.hpp"
#include "host/saved/vm_directory.hpp"
#include "host/store/files.hpp"
#include "host/vm/transition.hpp"
#include "host/vm/vm_impl.hpp"
#include "host/worker/merge_layers.hpp"

namespace microvm {

using host::Captured;
using host::Limits;
using host::SavedState;
using host::Verdict;
using host::VmCall;
using Slept = host::LiveState::Slept;

namespace {

// A guest that does not stop its programs in time is stopped as it is: for its own resume nothing
// in it has to be still.
constexpr std::chrono::seconds kFreezeLimit{2};
// Where they have to be: the agent gives up before that, and says why.
constexpr std::chrono::seconds kMustFreezeLimit{10};
constexpr std::chrono::seconds kThawLimit{30};
constexpr std::chrono::seconds kReleaseLimit{5};
constexpr std::string_view kTakeState = "take the state of the microvm";

// That there is such a microvm at all, and what its network may reach.
Result<void> sync_record(const std::filesystem::path& dir, NetworkMode network) {
  auto done = host::sync_path(dir / "vm.json");
  if (done && network == NetworkMode::user) done = host::sync_path(dir / wire::kNetworkFile);
  if (done) done = host::sync_path(dir.parent_path());
  return done;
}

}  // namespace

Result<Captured> Vm::Impl::capture_frozen(Session& session, const host::CaptureOptions& options,
                                          bool must_freeze, const Limits& limits,
                                          const StillWanted& still_wanted) {
  // The guest's programs do not stand still for it.
  auto prepared = host::PreparedCapture::make(dir, options);
  if (!prepared) return base::fail(prepared.error());
  session.client->drop_ahead();  // a clone would find it broken
  const auto frozen =
      session.agent.freeze(host::AgentClient::FreezeFor::state,
                           limits.within(must_freeze ? kMustFreezeLimit : kFreezeLimit));
  if (!frozen && must_freeze) {
    // The agent may still be at it, and succeed when nobody waits any more.
    static_cast<void>(session.agent.thaw(Limits({}, kThawLimit)));
    return base::fail(frozen.error());
  }
  Result<Captured> captured;
  if (still_wanted && !still_wanted(session)) {
    captured = base::fail(ErrorCode::busy, "microvm " + record.id + " is in use again");
  } else if (auto ok = limits.check(kTakeState); !ok) {
    captured = base::fail(ok.error());
  } else {
    captured = prepared->take(*session.client);
  }
  if (captured && !options.run_on) return captured;
  if (!captured) static_cast<void>(run_on(session, NewTop::keep));
  // Whatever became of it, the programs go on.
  const auto thawed = session.agent.thaw(Limits({}, kThawLimit));
  if (captured && !thawed) core->log("microvm " + record.id + ": " + thawed.error().message);
  return captured;
}

// A worker may be at a capture still whose answer came too late. Not within the limits of a caller
// who may have given up: somebody has to let the guest run.
Result<void> Vm::Impl::run_on(Session& session, NewTop top) {
  const wire::ResumeRequest request{.drop_layers = top == NewTop::drop};
  const auto running = session.client->call(request, {}, Limits({}, kThawLimit), "resume");
  if (!running) return base::fail(running.error());
  return {};
}

Result<Captured> Vm::Impl::capture_to_suspend(Session& session, const std::string& cause,
                                              const StillWanted& still_wanted,
                                              const Limits& limits) {
  inform(session, kSuspendHook, cause, limits);
  Result<Captured> captured;
  if (auto ok = limits.check("suspend"); !ok) {
    captured = base::fail(ok.error());
  } else {
    captured = capture_frozen(session, {.run_on = false}, false, limits, still_wanted);
  }
  // Not within the limits of a caller who gave up: the app would wait for good.
  if (!captured) inform(session, kResumeHook, cause, Limits({}));
  return captured;
}

Result<SuspendTimes> Vm::Impl::suspend(const SuspendOptions& options, const Limits& limits,
                                       const std::string& cause, const StillWanted& still_wanted) {
  constexpr std::string_view kWhat = "suspend";
  const host::Stopwatch clock;
  const auto times = std::make_shared<SuspendTimes>();
  SuspendTimes acknowledged;
  std::shared_ptr<host::Suspension> suspension;
  {
    const auto change = Transition::begin(*this, limits, kWhat);
    if (!change) return base::fail(change.error());
    const Verdict verdict = host::judge(VmCall::suspend, state());
    if (verdict == Verdict::nothing) return SuspendTimes{};
    if (verdict == Verdict::gone) {
      return base::fail(ErrorCode::vm_gone,
                        "suspend: microvm " + record.id + " has ended: " + end_reason().reason);
    }
    if (verdict == Verdict::busy) {
      return base::fail(ErrorCode::busy,
                        "suspend: microvm " + record.id + " is being suspended already");
    }
    // Not session(): that would resume one that another process has just put to sleep, and wait
    // for this very change to end.
    const auto running = running_session();
    if (!running) {
      return base::fail(ErrorCode::busy,
                        "suspend: microvm " + record.id + " is changing its state; try again");
    }
    auto captured = capture_to_suspend(*running, cause, still_wanted, limits);
    if (!captured) return base::fail(captured.error());
    times->acknowledged_us = clock.us();
    times->pause_us = captured->pause_us;
    times->changed_bytes = captured->page_bytes;
    acknowledged = *times;  // from here on the thread writes to them
    const auto shared = std::make_shared<Captured>(std::move(*captured));
    if (!live_.begin_suspend()) {
      return base::fail(ErrorCode::vm_gone,
                        "suspend: the worker of microvm " + record.id + " has ended");
    }
    auto started = host::Suspension::start([this, session = running, shared, times, clock, cause,
                                            hold = change->hold()](const auto& stop) mutable {
      auto saved = save_and_release(session, *shared, stop, cause, *times);
      times->durable_us = clock.us();
      if (saved) tell(VmEvent::Kind::suspended, cause, times->durable_us);
      // One that was stopped is in the hands of who stopped it, if that still waits.
      bool stopped = !saved && saved.error().code == ErrorCode::cancelled;
      if (stopped && !stop.hand_over()) {
        stopped = false;
        take_back(*session, cause, NewTop::drop);
        saved = base::fail(ErrorCode::busy, "suspend: stopped; the microvm runs on");
        tell(VmEvent::Kind::runs_on, cause, 0, saved.error().message);
      }
      hold.reset();
      if (!stopped) live_.end_suspend(saved ? Slept::yes : Slept::runs_on);
      return saved;
    });
    if (!started) {
      take_back(*running, cause, NewTop::drop);
      live_.end_suspend(Slept::runs_on);
      return base::fail(started.error());
    }
    suspension = *started;
    live_.keep_suspension(suspension);
  }
  if (!options.wait_durable) return acknowledged;
  if (auto durable = suspension->wait(limits); !durable) return base::fail(durable.error());
  return *times;
}

Result<void> Vm::Impl::save_and_release(const std::shared_ptr<Session>& session, Captured& captured,
                                        const host::Suspension::Stop& stop,
                                        const std::string& cause, SuspendTimes& times) {
  tell(VmEvent::Kind::suspending, cause, times.acknowledged_us);
  const Limits limits({&stop.token, {}});
  // What the saved state leans on need not wait for it, nor it for that.
  Result<void> synced;
  host::Beside syncing([&] { synced = sync_record(dir, record.network.mode); }, "suspend");
  Result<void> done = host::write_captured(captured, *session->client, limits);
  // Somebody else's request to the worker was in the way: who stops us has set the flag.
  if (!done && done.error().code == ErrorCode::cancelled && !stop.flag) {
    done = base::fail(ErrorCode::busy, done.error().message);
  }
  Result<SavedState> saved;
  if (done) saved = host::save_captured(captured, dir, dir, &stop.flag, limits);
  if (done && !saved) done = base::fail(saved.error());
  syncing.wait();
  if (done) done = synced;
  // From here on the record may name the layers that were taken: nothing writes to them any more.
  const NewTop top = done ? NewTop::keep : NewTop::drop;
  if (done) done = host::write_saved(dir, *saved);
  if (!done) {
    if (done.error().code == ErrorCode::cancelled) return done;  // the resume goes on from here
    const bool gone = done.error().code == ErrorCode::vm_gone;   // killed behind its answer
    if (!gone) tell(VmEvent::Kind::runs_on, cause, 0, done.error().message);
    take_back(*session, cause, top);
    return base::fail(done.error().code,
                      "suspend: " + done.error().message + (gone ? "" : "; the microvm runs on"));
  }
  std::error_code ec;
  times.stored_bytes = std::filesystem::file_size(dir / saved->pages.back(), ec);
  release_worker(*session);
  // Whoever resumes it from now on, in whatever process, waits for this lock or has it.
  const auto asleep = lock_asleep(Limits({&stop.token, {}}));
  if (!asleep || !*asleep) return {};
  host::keep_numbered_files(dir, saved->files());
  // The state is as good without it.
  const auto merged =
      host::merge_saved_layers(*core->spawner, dir, *saved, Limits({&stop.token, {}}));
  if (!merged && merged.error().code != ErrorCode::cancelled) {
    core->log("merge the disk layers of microvm " + record.id + ": " + merged.error().message);
  }
  return {};
}

bool Vm::Impl::has_many_layers() const {
  const auto run = host::read_run(dir);
  return run && run->layers.size() >= host::kMaxLiveLayers;
}

Result<void> Vm::Impl::shed_layers(const Limits& limits) {
  if (!has_many_layers()) return {};
  if (auto ok = check_may_restart("merge disk layers"); !ok) return ok;
  if (const auto slept = suspend({.wait_durable = true}, limits); !slept) {
    return base::fail(slept.error());
  }
  return resume(limits);
}

// Its next worker must hold the lock that its owner keeps.
Result<void> Vm::Impl::check_may_restart(std::string_view what) {
  if (!record.dies_with_owner || live_.has_lock()) return {};
  return base::fail(ErrorCode::busy, std::string(what) + ": microvm " + record.id +
                                         " dies with another process: only that one can do this");
}

// Its state is safe: the worker and its memory go.
void Vm::Impl::release_worker(Session& session) {
  const Limits limits({}, kReleaseLimit);
  static_cast<void>(session.client->call(wire::TerminateRequest{true}, {}, limits, "suspend"));
  static_cast<void>(session.client->wait_ended(limits, "suspend"));
  reap_worker();
  session.agent.drop_doorbell();
  if (!live_.has_lock() && !session.client->ended()) kill_stranger();
}

// Nothing has come of a suspend.
void Vm::Impl::take_back(Session& session, const std::string& cause, NewTop top) {
  static_cast<void>(wake_in_memory(top));
  inform(session, kResumeHook, cause, Limits({}));
}

}  // namespace microvm
