// What a Vm is at present, and the way to its agent.
#include "host/vm/vm_impl.hpp"

#include <thread>
#include <utility>

#include "host/saved/vm_directory.hpp"
#include "host/vm/transition.hpp"
#include "host/worker/doorbell_keeper.hpp"
#include "host/worker/read_stream.hpp"
#include "host/worker/vm_link.hpp"

namespace microvm {

using host::Limits;
using host::VmPhase;

namespace {

constexpr std::chrono::seconds kLogLimit{10};
constexpr size_t kMaxLogBytes = 256 * 1024;
// A worker that is just starting or ending in another process.
constexpr std::chrono::milliseconds kSettlePause{10};
constexpr int kSettleAttempts = 200;

wire::LogsRequest::Which wire_source(LogSource source) {
  return source == LogSource::app ? wire::LogsRequest::Which::app
                                  : wire::LogsRequest::Which::kernel;
}

}  // namespace

Vm::Impl::Impl(std::shared_ptr<host::Core> shared, host::VmRecord what, ImageConfig image_config)
    : core(std::move(shared)),
      record(std::move(what)),
      config(std::move(image_config)),
      dir(core->store.vm_dir(record.id)) {}

Vm::Impl::~Impl() {
  const bool ours = lock_.valid() || worker_;
  if (record.dies_with_owner) stop_suspension();
  suspension_.reset();
  if (session_) session_->client->close();
  if (!ours) return;
  if (!record.dies_with_owner) {
    if (worker_) worker_->let_go();
    return;
  }
  if (worker_) worker_->end(std::chrono::milliseconds(0));
  clean_up();
}

std::shared_ptr<Vm::Impl::Session> Vm::Impl::make_session(base::Fd control,
                                                          host::ControlClient::Peer peer) {
  auto keeper = std::make_shared<host::DoorbellKeeper>(
      *core->reactor, host::Identity{record.hostname, record.machine_id, record.boot_id, {}});
  auto client = host::ControlClient::start(
      *core->reactor, std::move(control),
      [keeper](base::Fd stream) { keeper->answer(std::move(stream)); }, peer);
  return std::make_shared<Session>(
      Session{client, host::AgentClient(std::make_shared<host::VmLink>(client))});
}

void Vm::Impl::own(host::StartedWorker started) {
  auto session = make_session(started.worker.take_control(), host::ControlClient::Peer::own);
  const std::scoped_lock lock(mutex_);
  if (session_) session_->client->close();
  session_ = std::move(session);
  settled_ = true;
  doorbell_ = std::move(started.doorbell);
  times_ = started.times;
  killed_.clear();
  if (record.dies_with_owner) lock_ = std::move(started.lock);
  worker_.emplace(std::move(started.worker));
  watch_idleness();
}

// With mutex_ held.
void Vm::Impl::reap_worker(std::chrono::milliseconds patience) {
  if (!worker_) return;
  killed_ = worker_->end(patience);
  worker_.reset();
}

// A worker that was told to end has said so in its record before its socket shows it.
bool Vm::Impl::converses() const {
  return session_ && !session_->client->ended() && !host::read_exit(dir);
}

VmPhase Vm::Impl::phase(bool locked_by_us) {
  const std::scoped_lock lock(mutex_);
  if (session_ && session_->client->ended()) reap_worker();
  return host::find_phase(dir, locked_by_us || lock_.valid());
}

VmState Vm::Impl::state() {
  {
    const std::scoped_lock lock(mutex_);
    if (terminating_) return VmState::terminating;
    if (waking_) return VmState::suspended;
  }
  return guest_state();
}

VmState Vm::Impl::guest_state() {
  {
    const std::scoped_lock lock(mutex_);
    if (suspension_ && !suspension_->over()) return VmState::suspending;
    if (converses()) return VmState::running;
    if (reason_) return VmState::terminated;
  }
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
    const host::EndReason reason = end_reason();
    info.state_reason = reason.text;
    info.end = reason.end;
  } else if (info.state == VmState::suspended) {
    host::fill_state(info, dir, VmPhase::suspended);
  } else if (const auto run = host::read_run(dir)) {
    info.worker_pid = run->worker_pid;
  }
  return info;
}

std::shared_ptr<Vm::Impl::Session> Vm::Impl::running_session() {
  {
    const std::scoped_lock lock(mutex_);
    if (waking_ || (suspension_ && !suspension_->over())) return nullptr;
    if (converses()) return session_;
    if (reason_) return nullptr;
  }
  return phase() == VmPhase::running ? attach() : nullptr;
}

host::ChangeHold Vm::Impl::change_hold() {
  const std::scoped_lock lock(change_mutex_);
  return change_hold_.lock();
}

void Vm::Impl::keep_change_hold(const host::ChangeHold& hold) {
  const std::scoped_lock lock(change_mutex_);
  change_hold_ = hold;
}

bool Vm::Impl::is_changing() {
  {
    const std::scoped_lock lock(change_mutex_);
    if (changing_) return true;
  }
  return host::is_change_held(dir);
}

std::shared_ptr<Vm::Impl::Session> Vm::Impl::settled_session() {
  {
    const std::scoped_lock lock(mutex_);
    if (waking_ || (suspension_ && !suspension_->over())) return nullptr;
    if (settled_ && converses()) return session_;
  }
  if (is_changing()) return nullptr;
  auto session = running_session();
  // It may be with a worker that somebody has started since, and whose hook is not through.
  if (is_changing()) return nullptr;
  const std::scoped_lock lock(mutex_);
  settled_ = session != nullptr && session == session_;
  return session;
}

// To the worker that another process has started.
std::shared_ptr<Vm::Impl::Session> Vm::Impl::attach() {
  auto control = host::connect_control(dir);
  if (!control) return nullptr;
  auto session = make_session(std::move(*control), host::ControlClient::Peer::unknown);
  const std::scoped_lock lock(mutex_);
  if (converses()) {  // another thread was first, and may be using its own
    session->client->close();
    return session_;
  }
  if (session_) session_->client->close();
  session_ = session;
  settled_ = false;
  return session;
}

Result<std::shared_ptr<Vm::Impl::Session>> Vm::Impl::session(const Limits& limits,
                                                             std::string_view what) {
  for (int attempt = 0; attempt < kSettleAttempts; ++attempt) {
    if (auto settled = settled_session()) return settled;
    const VmState now = state();
    if (now == VmState::terminated) {
      return base::fail(ErrorCode::vm_gone, std::string(what) + ": microvm " + record.id +
                                                " has ended: " + end_reason().text);
    }
    const bool has_worker = now == VmState::running || now == VmState::terminating;
    if (has_worker && is_changing()) {
      if (const auto over = Transition::begin(*this, limits, what); !over) {
        return base::fail(over.error());
      }
    } else if (has_worker) {
      std::this_thread::sleep_for(kSettlePause);
    } else if (!record.idle.auto_resume) {
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

// Whether a call that found its worker gone is worth another attempt.
bool Vm::Impl::fell_asleep() {
  const VmState now = state();
  return now == VmState::suspended || now == VmState::suspending;
}

Result<std::string> Vm::Impl::read_log(LogSource source) {
  if (const auto running = running_session()) {
    const Limits limits({}, kLogLimit);
    auto stream = running->client->call_for_stream(wire::LogsRequest{wire_source(source), false},
                                                   limits, "read the log");
    if (stream) return host::read_stream(stream->get(), kMaxLogBytes, limits, "read the log");
    if (!running->client->ended()) return base::fail(stream.error());
  }
  if (ended()) end_reason();  // the worker writes the files before it is gone
  const std::scoped_lock lock(mutex_);
  const base::Fd& kept = source == LogSource::app ? app_log_ : kernel_log_;
  return kept ? host::read_log(kept.get()) : host::read_log(dir, source);
}

}  // namespace microvm
