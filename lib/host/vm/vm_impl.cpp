// What a Vm is at present, and the way to its agent.
#include "host/vm/vm_impl.hpp"

#include <thread>
#include <utility>

#include "host/saved/vm_directory.hpp"
#include "host/vm/transition.hpp"
#include "host/worker/doorbell_keeper.hpp"
#include "host/worker/guest_network.hpp"
#include "host/worker/vm_link.hpp"

namespace microvm {

using host::Limits;
using host::LivePhase;
using host::Verdict;
using host::VmCall;
using host::VmPhase;

namespace {

// A worker that is just starting or ending in another process.
constexpr std::chrono::milliseconds kSettlePause{10};
constexpr int kSettleAttempts = 200;
constexpr std::chrono::seconds kEndPatience{1};

}  // namespace

Vm::Impl::Impl(std::shared_ptr<host::Core> shared, host::VmRecord what, ImageConfig image_config)
    : core(std::move(shared)),
      record(std::move(what)),
      config(std::move(image_config)),
      dir(core->store.vm_dir(record.id)),
      policy_(record.idle) {}

Vm::Impl::~Impl() {
  for (const auto& waiter : awake_queue_.take()) {
    deliver_later(waiter, base::fail(ErrorCode::vm_gone,
                                     "microvm " + record.id + ": nobody holds it any more"));
  }
  const bool ours = live_.has_lock() || live_.worker();
  const bool had_ended = ours && guest_state() == VmState::terminated;
  if (record.dies_with_owner) {
    static_cast<void>(stop_suspension(Stopping::at_once, Limits({}), "end"));
  }
  live_.take_suspension().reset();
  if (const auto session = live_.last_session()) session->client->close();
  if (!ours) return;
  const auto worker = live_.worker();
  if (!record.dies_with_owner) {
    if (worker) worker->let_go();
    return;
  }
  // Before others can see it dead and tell of that.
  const bool is_ours_to_tell = host::claim_end(dir);
  const VmEnding reason =
      had_ended ? end_reason() : VmEnding{VmEnd::terminated, "its owner let go of it"};
  if (worker) worker->end(std::chrono::milliseconds(0));
  clean_up();
  if (is_ours_to_tell) {
    tell_end(std::string(host::cause_of_end(reason, true)), 0, reason);
  }
}

std::shared_ptr<Vm::Impl::Session> Vm::Impl::make_session(base::Fd control,
                                                          host::ControlClient::Peer peer,
                                                          host::HeldDoorbell doorbell) {
  host::Identity identity{record.hostname, record.machine_id, record.boot_id, {}};
  identity.network = host::guest_network(record.network);
  auto keeper = std::make_shared<host::DoorbellKeeper>(*core->reactor, std::move(identity));
  auto client = host::ControlClient::start(
      *core->reactor, std::move(control),
      [keeper](base::Fd stream) { keeper->answer(std::move(stream)); },
      // The reactor must not keep a Vm, not for a moment: it would be the one to destroy it.
      [&errands = core->errands, vm = weak_from_this()] { send_to_see_end(errands, vm); }, peer,
      peer == host::ControlClient::Peer::own ? host::ControlClient::Ahead::asked
                                             : host::ControlClient::Ahead::none,
      [&errands = core->errands, vm = weak_from_this()](wire::NetworkEvent event) {
        send_to_tell_network(errands, vm, std::move(event));
      });
  return std::make_shared<Session>(Session{
      client, host::AgentClient(std::make_shared<host::VmLink>(client), std::move(doorbell))});
}

void Vm::Impl::own(host::StartedWorker started, std::shared_ptr<host::StartTrace> trace) {
  {
    const base::MutexLock lock(first_mutex_);
    refill_.reset();
    refill_.emplace(std::move(started.refill));
    trace_ = std::move(trace);
    awaits_first_ = true;
  }
  auto session = make_session(started.worker.take_control(), host::ControlClient::Peer::own,
                              std::move(started.doorbell));
  const auto before =
      live_.started({.session = std::move(session),
                     .worker = std::make_shared<host::Worker>(std::move(started.worker)),
                     .lock = record.dies_with_owner ? std::move(started.lock) : base::Fd(),
                     .times = started.times});
  if (before) before->client->close();
  watch_idleness();
}

// A connect that fails, or a program that does not come to its end, leaves all as it is: the pool
// does not wait for ever.
void Vm::Impl::note_exec(host::ExecStep step) {
  if (!awaits_first_) return;
  std::optional<host::PoolRefill> done;  // dropped without the lock
  const base::MutexLock lock(first_mutex_);
  if (trace_) trace_->mark(host::exec_step_name(step));
  if (step != host::ExecStep::ended) return;
  if (trace_) trace_->write_out();
  trace_.reset();
  if (refill_) done.emplace(std::move(*refill_));
  refill_.reset();
  awaits_first_ = false;
}

void Vm::Impl::reap_worker(std::chrono::milliseconds patience) {
  if (const auto worker = live_.worker()) live_.reaped(worker, worker->end(patience));
}

host::LiveState::View Vm::Impl::look() {
  auto seen = live_.view();
  while (seen.session && seen.session->client->ending()) {
    live_.lost(seen.session);
    seen = live_.view();
  }
  return seen;
}

VmPhase Vm::Impl::phase(bool locked_by_us) {
  if (const auto last = live_.last_session(); last && last->client->hung_up()) reap_worker();
  return host::find_phase(dir, locked_by_us || live_.has_lock());
}

VmState Vm::Impl::state() {
  switch (live_.view().phase) {
    case LivePhase::terminating:
      return VmState::terminating;
    case LivePhase::waking:
      return VmState::suspended;
    default:
      return guest_state();
  }
}

VmState Vm::Impl::guest_state() {
  const auto seen = look();
  if (seen.phase == LivePhase::suspending) return VmState::suspending;
  if (seen.session) return VmState::running;
  if (live_.reason()) return VmState::terminated;
  switch (phase()) {
    case VmPhase::running:
      return VmState::running;
    case VmPhase::suspended:
      return VmState::suspended;
    case VmPhase::ended:
      return VmState::terminated;
  }
  return VmState::terminated;
}

VmInfo Vm::Impl::info() {
  VmInfo info = host::to_info(record);
  info.state = state();
  if (info.state == VmState::terminated) {
    const VmEnding reason = end_reason();
    info.state_reason = reason.reason;
    info.end = reason.end;
  } else if (info.state == VmState::suspended) {
    host::fill_state(info, dir, VmPhase::suspended);
  } else if (const auto run = host::read_run(dir)) {
    info.worker_pid = run->worker_pid;
  }
  return info;
}

std::shared_ptr<Vm::Impl::Session> Vm::Impl::running_session() {
  const LivePhase now = live_.view().phase;
  const bool stands = now == LivePhase::waking || now == LivePhase::suspending;
  return stands ? nullptr : worker_session();
}

std::shared_ptr<Vm::Impl::Session> Vm::Impl::worker_session() {
  if (auto talking = look().session) return talking;
  if (live_.reason()) return nullptr;
  return phase() == VmPhase::running ? attach() : nullptr;
}

void Vm::Impl::keep_change_hold(const host::ChangeHold& hold) {
  live_.keep_change_hold(hold);
}

bool Vm::Impl::is_changing() {
  return live_.is_changing() || host::is_change_held(dir);
}

std::shared_ptr<Vm::Impl::Session> Vm::Impl::settled_session() {
  if (auto settled = live_.settled(); settled && !settled->client->ending()) return settled;
  if (is_changing()) return nullptr;
  auto session = running_session();
  // It may be with a worker that somebody has started since, and whose hook is not through.
  if (session == nullptr || is_changing()) return nullptr;
  live_.settle(session);
  return session;
}

// To the worker that another process has started.
std::shared_ptr<Vm::Impl::Session> Vm::Impl::attach() {
  auto control = host::connect_control(dir);
  if (!control) return nullptr;
  auto session = make_session(std::move(*control), host::ControlClient::Peer::unknown);
  if (live_.meet(session)) return session;
  session->client->close();  // another thread was first, and may be using its own
  return look().session;
}

Result<std::shared_ptr<Vm::Impl::Session>> Vm::Impl::session(const Limits& limits,
                                                             std::string_view what) {
  for (int attempt = 0; attempt < kSettleAttempts; ++attempt) {
    if (auto settled = settled_session()) return settled;
    const VmState now = state();
    const Verdict verdict = host::judge(VmCall::use, now);
    if (verdict == Verdict::gone) {
      return base::fail(ErrorCode::vm_gone, std::string(what) + ": microvm " + record.id +
                                                " has ended: " + end_reason().reason);
    }
    if (verdict != Verdict::wake && is_changing()) {
      if (const auto over = Transition::begin(*this, limits, what); !over) {
        return base::fail(over.error());
      }
    } else if (verdict != Verdict::wake) {
      std::this_thread::sleep_for(kSettlePause);
    } else if (reread_policy(); !idle_policy().auto_resume) {
      return base::fail(ErrorCode::busy, std::string(what) + ": microvm " + record.id + " is " +
                                             vm_state_name(now) + ": resume it first");
    } else if (auto awake = resume(limits, what); !awake) {
      return base::fail(awake.error().code, std::string(what) + ": " + awake.error().message);
    }
    if (auto ok = limits.check(what); !ok) return base::fail(ok.error());
  }
  return base::fail(ErrorCode::vm_gone,
                    std::string(what) + ": microvm " + record.id + " does not answer");
}

// Somebody may suspend it between the look and the right to change it: then it is woken once more.
Result<Vm::Impl::Awake> Vm::Impl::hold_awake(const Limits& limits, std::string_view what) {
  for (;;) {
    if (const auto awake = session(limits, what); !awake) return base::fail(awake.error());
    auto change = Transition::begin(*this, limits, what);
    if (!change) return base::fail(change.error());
    if (auto running = running_session()) return Awake{std::move(*change), std::move(running)};
    if (auto ok = limits.check(what); !ok) return base::fail(ok.error());
  }
}

void Vm::Impl::tell(VmEvent::Kind kind, const std::string& cause, uint64_t took_us,
                    std::string detail) const {
  core->emit({.vm_id = record.id,
              .kind = kind,
              .cause = cause,
              .took_us = took_us,
              .detail = std::move(detail)});
}

void Vm::Impl::tell_end(const std::string& cause, uint64_t took_us, const VmEnding& reason) const {
  core->emit({.vm_id = record.id,
              .kind = VmEvent::Kind::terminated,
              .cause = cause,
              .took_us = took_us,
              .detail = reason.reason,
              .end = reason.end});
}

bool Vm::Impl::was_put_to_sleep(const Session& before) {
  const auto sleeps = [this] {
    const VmState now = state();
    return now == VmState::suspended || now == VmState::suspending;
  };
  if (sleeps()) return true;
  // Streams break a moment before their worker is gone.
  static_cast<void>(before.client->wait_ended(Limits({}, kEndPatience), "look again"));
  if (sleeps()) return true;
  // Another call was faster.
  return before.client->ending() && state() == VmState::running;
}

}  // namespace microvm
