// What one process knows of one Vm, and what may become of it: one lock, a table of the moves that
// are allowed, one change at a time. Under the lock nothing is asked of the disk, of a worker or of
// a guest, no process is waited for and nothing is removed: who has to do such a thing takes what
// it needs out, does it, and says what came of it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "base/thread_annotations.hpp"
#include "host/base/limits.hpp"
#include "host/saved/change_lock.hpp"
#include "host/saved/how_it_ended.hpp"
#include "host/saved/vm_logs.hpp"
#include "host/vm/suspension.hpp"
#include "host/vm/vm_session.hpp"
#include "host/worker/worker.hpp"
#include "microvm/vm.hpp"

namespace microvm::host {

enum class LivePhase : uint8_t {
  apart,        // no conversation with a worker: what is so stands in the Vm's directory
  met,          // one with a worker which somebody may be changing
  running,      // the same, and nobody was
  suspending,   // the guest stands in its worker while its state goes to the disk
  waking,       // the way back: for all but the caller that wakes it, it still sleeps
  terminating,  // its terminate hook is asked, its worker goes
  ended,        // for good
};
inline constexpr size_t kLivePhases = 7;
const char* live_phase_name(LivePhase phase) noexcept;

// The table of moves. None from a phase to itself; none out of `ended`.
[[nodiscard]] bool may_become(LivePhase from, LivePhase to) noexcept;

// What a call does that finds a Vm in a state, once it has the right to change it or needs none.
enum class VmCall : uint8_t { use, suspend, resume, rollback, terminate };  // use: exec, fork, …
inline constexpr size_t kVmCalls = 5;
enum class Verdict : uint8_t {
  go_on,
  wake,     // first, and then go on
  wait,     // for the change under way
  nothing,  // there is nothing to do
  busy,     // error of that name
  gone,     // error vm_gone
};
[[nodiscard]] Verdict judge(VmCall call, VmState state) noexcept;

// Thread-safe.
class LiveState {
 public:
  struct View {
    LivePhase phase = LivePhase::apart;
    std::shared_ptr<VmSession> session;  // null: there is no conversation
  };
  [[nodiscard]] View view() const;
  // Where a call goes that changes nothing; null: it has to look closer.
  [[nodiscard]] std::shared_ptr<VmSession> settled() const;
  // The last one, over or not.
  [[nodiscard]] std::shared_ptr<VmSession> last_session() const;

  // ---- one change at a time ----
  // Waits for the change under way. Errors: cancelled, deadline_exceeded; `what` begins messages.
  Result<void> begin_change(const Limits& limits, std::string_view what);
  void end_change();
  [[nodiscard]] bool is_changing() const;
  // The lock among processes of a change of ours; null: none is under way. It ends with the last
  // copy, which may outlive the change: a suspension goes on.
  [[nodiscard]] ChangeHold change_hold() const;
  void keep_change_hold(const ChangeHold& hold);

  // ---- conversations ----
  struct Start {
    std::shared_ptr<VmSession> session;
    std::shared_ptr<Worker> worker;
    base::Fd lock;  // for the owner of a Vm that dies with it to keep; none: as it was
    LaunchTimes times;
  };
  // A worker of ours runs the guest. While the Vm is being woken it stays `waking`. The session
  // before, if there is one, is given back to be closed.
  std::shared_ptr<VmSession> started(Start start);
  // A conversation with a worker that another process has started. False: there is another one by
  // now, or none is wanted; `session` is the caller's to close.
  bool meet(const std::shared_ptr<VmSession>& session);
  // Nobody was changing it, with this session.
  void settle(const std::shared_ptr<VmSession>& session);
  // It is over; nothing happens when there is another one by now.
  void lost(const std::shared_ptr<VmSession>& session);

  // ---- changes; by who has begun one. False: the table has no such move ----
  bool begin_suspend();
  // The thread that carries it out; kept until somebody takes it, over or not.
  void keep_suspension(std::shared_ptr<Suspension> suspension);
  [[nodiscard]] std::shared_ptr<Suspension> take_suspension();
  // By that thread, at its end. Nothing happens when somebody wakes or ends the Vm by now.
  enum class Slept : uint8_t { yes, runs_on };
  void end_suspend(Slept slept);

  bool begin_wake();
  // Whatever came of it: the conversation shows that.
  void end_wake();

  bool begin_end();
  // Where nothing came of it, it is as the conversation shows.
  void end_end();
  // How it ended; the first word counts and is given back. A change under way is finished first.
  VmEnding ended(const VmEnding& reason);
  [[nodiscard]] std::optional<VmEnding> reason() const;
  // The same, once all is through that belongs to the end.
  [[nodiscard]] std::optional<VmEnding> ending() const;
  // Readable from then on. Error: io.
  Result<int> end_fd();
  // True for the first one, which then removes what is left.
  bool begin_clean_up();

  // ---- what this process holds of it ----
  // Its worker, when this process has started it. Several threads may wait for the end of the same.
  [[nodiscard]] std::shared_ptr<Worker> worker() const;
  // It has ended; `killed`: by what signal, if it was not ours. Nothing happens when there is
  // another one by now.
  void reaped(const std::shared_ptr<Worker>& worker, std::string killed);
  [[nodiscard]] std::string killed() const;
  // The lock of its directory, which the owner of a Vm that dies with it keeps.
  [[nodiscard]] bool has_lock() const;
  [[nodiscard]] Result<base::Fd> copy_lock() const;  // invalid: there is none
  void drop_lock();
  [[nodiscard]] LaunchTimes times() const;
  // Kept readable after the directory is gone.
  void keep_logs(LogFiles files);
  [[nodiscard]] Result<std::optional<LogFiles>> copy_logs() const;  // empty: none are kept

 private:
  bool move_to(LivePhase to) MICROVM_REQUIRES(mutex_);
  void raise_end() MICROVM_REQUIRES(mutex_);
  // Out of a change.
  void come_to_rest() MICROVM_REQUIRES(mutex_);
  void wait_for_turn(base::MutexLock& lock, const Limits& limits) MICROVM_REQUIRES(mutex_);

  mutable base::Mutex mutex_;
  std::condition_variable turn_is_free_;
  bool changing_ MICROVM_GUARDED_BY(mutex_) = false;
  std::weak_ptr<const base::Fd> change_hold_ MICROVM_GUARDED_BY(mutex_);

  LivePhase phase_ MICROVM_GUARDED_BY(mutex_) = LivePhase::apart;
  // What is so of the conversation, whatever change is under way: apart, met or running.
  LivePhase at_rest_ MICROVM_GUARDED_BY(mutex_) = LivePhase::apart;
  std::shared_ptr<VmSession> session_ MICROVM_GUARDED_BY(mutex_);
  std::shared_ptr<Suspension> suspension_ MICROVM_GUARDED_BY(mutex_);
  std::shared_ptr<Worker> worker_ MICROVM_GUARDED_BY(mutex_);
  std::string killed_ MICROVM_GUARDED_BY(mutex_);
  std::optional<VmEnding> reason_ MICROVM_GUARDED_BY(mutex_);
  base::Fd end_event_ MICROVM_GUARDED_BY(mutex_);  // none before somebody asks for it
  bool cleaned_up_ MICROVM_GUARDED_BY(mutex_) = false;

  base::Fd lock_ MICROVM_GUARDED_BY(mutex_);
  LaunchTimes times_ MICROVM_GUARDED_BY(mutex_);
  std::optional<LogFiles> logs_ MICROVM_GUARDED_BY(mutex_);
};

}  // namespace microvm::host
