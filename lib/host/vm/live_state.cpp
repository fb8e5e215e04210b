#include "host/vm/live_state.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "sys/file.hpp"

namespace microvm::host {
namespace {

constexpr size_t index_of(auto value) {
  return static_cast<size_t>(value);
}

// Rows: from, columns: to, both in the order of LivePhase.
constexpr bool kMoves[kLivePhases][kLivePhases] = {
    // apart met running suspending waking terminating ended
    {false, true, true, false, true, true, true},   // apart
    {true, false, true, true, true, true, true},    // met
    {true, false, false, true, true, true, true},   // running
    {true, false, true, false, true, true, false},  // suspending
    {true, true, true, false, false, false, true},  // waking
    {true, true, true, false, false, false, true},  // terminating
    {false, false, false, false, false, false, false},
};

using enum Verdict;
// Rows: VmCall, columns: VmState.
constexpr Verdict kVerdicts[kVmCalls][5] = {
    // running suspending suspended terminating terminated
    {go_on, wake, wake, wait, gone},        // use
    {go_on, busy, nothing, busy, gone},     // suspend
    {nothing, wake, wake, busy, gone},      // resume
    {go_on, go_on, go_on, go_on, gone},     // rollback
    {go_on, go_on, go_on, go_on, nothing},  // terminate
};

}  // namespace

const char* live_phase_name(LivePhase phase) noexcept {
  static constexpr std::array kNames = {"apart",  "met",         "running", "suspending",
                                        "waking", "terminating", "ended"};
  return index_of(phase) < kNames.size() ? kNames[index_of(phase)] : "unknown";
}

bool may_become(LivePhase from, LivePhase to) noexcept {
  return kMoves[index_of(from)][index_of(to)];
}

Verdict judge(VmCall call, VmState state) noexcept {
  return kVerdicts[index_of(call)][index_of(state)];
}

bool LiveState::move_to(LivePhase to) {
  if (!may_become(phase_, to)) return false;
  phase_ = to;
  if (to == LivePhase::ended) raise_end();
  return true;
}

void LiveState::come_to_rest() {
  move_to(reason_ ? LivePhase::ended : at_rest_);
}

LiveState::View LiveState::view() const {
  const base::MutexLock lock(mutex_);
  return {phase_, at_rest_ == LivePhase::apart ? nullptr : session_};
}

// One that is being ended is served until its worker goes.
std::shared_ptr<VmSession> LiveState::settled() const {
  const base::MutexLock lock(mutex_);
  const bool is_served = phase_ == LivePhase::running || phase_ == LivePhase::terminating;
  return is_served && at_rest_ == LivePhase::running ? session_ : nullptr;
}

std::shared_ptr<VmSession> LiveState::last_session() const {
  const base::MutexLock lock(mutex_);
  return session_;
}

// ---- one change at a time ----------------------------------------------------------------------

Result<void> LiveState::begin_change(const Limits& limits, std::string_view what) {
  base::MutexLock lock(mutex_);
  while (changing_) {
    if (auto ok = limits.check(what); !ok) return ok;
    wait_for_turn(lock, limits);
  }
  changing_ = true;
  return {};
}

// Only a token has to be looked at again and again: a thousand callers of one resume that did so
// would leave it no time. Who was woken and finds its own limits over was not waiting any more, and
// looks at `changing_` before them: no wake-up is lost.
void LiveState::wait_for_turn(base::MutexLock& lock, const Limits& limits) {
  constexpr std::chrono::milliseconds kCheckInterval{20};
  if (limits.cancel() != nullptr) {
    turn_is_free_.wait_for(lock.native(), kCheckInterval);
  } else if (limits.deadline()) {
    turn_is_free_.wait_until(lock.native(), *limits.deadline());
  } else {
    turn_is_free_.wait(lock.native());
  }
}

void LiveState::end_change() {
  {
    const base::MutexLock lock(mutex_);
    changing_ = false;
  }
  turn_is_free_.notify_one();
}

bool LiveState::is_changing() const {
  const base::MutexLock lock(mutex_);
  return changing_;
}

ChangeHold LiveState::change_hold() const {
  const base::MutexLock lock(mutex_);
  return change_hold_.lock();
}

void LiveState::keep_change_hold(const ChangeHold& hold) {
  const base::MutexLock lock(mutex_);
  change_hold_ = hold;
}

// ---- conversations -----------------------------------------------------------------------------

std::shared_ptr<VmSession> LiveState::started(Start start) {
  const base::MutexLock lock(mutex_);
  const bool is_at_rest = phase_ == at_rest_;
  at_rest_ = LivePhase::running;
  if (is_at_rest) move_to(at_rest_);
  worker_.swap(start.worker);  // one before it is let go of without the lock
  killed_.clear();
  if (start.lock) lock_ = std::move(start.lock);
  times_ = start.times;
  return std::exchange(session_, std::move(start.session));
}

bool LiveState::meet(const std::shared_ptr<VmSession>& session) {
  const base::MutexLock lock(mutex_);
  const bool is_wanted =
      phase_ == LivePhase::apart || phase_ == LivePhase::waking || phase_ == LivePhase::terminating;
  if (!is_wanted || at_rest_ != LivePhase::apart) return false;
  if (phase_ == at_rest_) move_to(LivePhase::met);
  at_rest_ = LivePhase::met;
  session_ = session;
  return true;
}

void LiveState::settle(const std::shared_ptr<VmSession>& session) {
  const base::MutexLock lock(mutex_);
  if (session_ != session || at_rest_ != LivePhase::met) return;
  if (phase_ == at_rest_) move_to(LivePhase::running);
  at_rest_ = LivePhase::running;
}

void LiveState::lost(const std::shared_ptr<VmSession>& session) {
  const base::MutexLock lock(mutex_);
  if (session_ != session || at_rest_ == LivePhase::apart) return;
  if (phase_ == at_rest_) move_to(LivePhase::apart);
  at_rest_ = LivePhase::apart;
}

// ---- changes -----------------------------------------------------------------------------------

bool LiveState::begin_suspend() {
  const base::MutexLock lock(mutex_);
  return move_to(LivePhase::suspending);
}

// One before it is over since long: who wakes or ends the Vm has taken it otherwise.
void LiveState::keep_suspension(std::shared_ptr<Suspension> suspension) {
  const base::MutexLock lock(mutex_);
  suspension_.swap(suspension);
}

std::shared_ptr<Suspension> LiveState::take_suspension() {
  const base::MutexLock lock(mutex_);
  return std::exchange(suspension_, nullptr);
}

void LiveState::end_suspend(Slept slept) {
  const base::MutexLock lock(mutex_);
  if (phase_ != LivePhase::suspending) return;
  at_rest_ = slept == Slept::yes ? LivePhase::apart : LivePhase::running;
  come_to_rest();
}

bool LiveState::begin_wake() {
  const base::MutexLock lock(mutex_);
  return phase_ == LivePhase::waking || move_to(LivePhase::waking);
}

void LiveState::end_wake() {
  const base::MutexLock lock(mutex_);
  if (phase_ == LivePhase::waking) come_to_rest();
}

bool LiveState::begin_end() {
  const base::MutexLock lock(mutex_);
  return move_to(LivePhase::terminating);
}

void LiveState::end_end() {
  const base::MutexLock lock(mutex_);
  if (phase_ == LivePhase::terminating) come_to_rest();
}

VmEnding LiveState::ended(const VmEnding& reason) {
  const base::MutexLock lock(mutex_);
  if (!reason_) reason_ = reason;
  const bool is_at_rest = phase_ == at_rest_;
  at_rest_ = LivePhase::apart;
  if (is_at_rest) come_to_rest();
  return *reason_;
}

std::optional<VmEnding> LiveState::reason() const {
  const base::MutexLock lock(mutex_);
  return reason_;
}

std::optional<VmEnding> LiveState::ending() const {
  const base::MutexLock lock(mutex_);
  return phase_ == LivePhase::ended ? reason_ : std::nullopt;
}

Result<int> LiveState::end_fd() {
  const base::MutexLock lock(mutex_);
  if (!end_event_) {
    // Each read of a caller's takes one away; there are enough for ever.
    end_event_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE));
    if (!end_event_) return base::fail_errno("make an event for the end of a microvm");
    if (phase_ == LivePhase::ended) raise_end();
  }
  return end_event_.get();
}

void LiveState::raise_end() {
  if (!end_event_) return;
  const uint64_t most = UINT64_MAX - 1;
  [[maybe_unused]] const auto written = ::write(end_event_.get(), &most, sizeof most);
}

bool LiveState::begin_clean_up() {
  const base::MutexLock lock(mutex_);
  return !std::exchange(cleaned_up_, true);
}

// ---- what this process holds of it -------------------------------------------------------------

std::shared_ptr<Worker> LiveState::worker() const {
  const base::MutexLock lock(mutex_);
  return worker_;
}

void LiveState::reaped(const std::shared_ptr<Worker>& worker, std::string killed) {
  const base::MutexLock lock(mutex_);
  if (worker_ != worker) return;
  worker_.reset();  // the caller's is not the last
  killed_ = std::move(killed);
}

std::string LiveState::killed() const {
  const base::MutexLock lock(mutex_);
  return killed_;
}

bool LiveState::has_lock() const {
  const base::MutexLock lock(mutex_);
  return lock_.valid();
}

Result<base::Fd> LiveState::copy_lock() const {
  const base::MutexLock lock(mutex_);
  if (!lock_) return base::Fd();
  return sys::duplicate(lock_.get(), "keep the microvm's lock");
}

void LiveState::drop_lock() {
  const base::MutexLock lock(mutex_);
  lock_.reset();
}

LaunchTimes LiveState::times() const {
  const base::MutexLock lock(mutex_);
  return times_;
}

void LiveState::keep_logs(LogFiles files) {
  const base::MutexLock lock(mutex_);
  logs_ = std::move(files);
}

Result<std::optional<LogFiles>> LiveState::copy_logs() const {
  const base::MutexLock lock(mutex_);
  if (!logs_) return std::optional<LogFiles>();
  return duplicate_logs(*logs_);
}

}  // namespace microvm::host
