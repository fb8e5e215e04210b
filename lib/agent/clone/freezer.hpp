// Whether programs of the image run. They do not before the guest has an identity, and not between
// a freeze and the identity that follows the snapshot.
#pragma once

#include "agent/base/failed.hpp"
#include "agent/base/sync.hpp"
#include "base/fd.hpp"

namespace microvm::agent {

class Freezer {
 public:
  // The cgroup v2 directory of all user programs; without it only the gate works. They run in two
  // leaves of it, which are made here, and none in itself: the kernel calls a cgroup frozen as soon
  // as those below it are, whatever still runs in it.
  [[nodiscard]] Outcome<void> adopt_cgroup(base::Fd directory);
  [[nodiscard]] int cgroup() const { return cgroup_.get(); }
  [[nodiscard]] int programs() const { return programs_.get(); }  // of exec and terminals
  [[nodiscard]] int command() const { return command_.get(); }    // the image's

  // Stops all programs; on an error they run as before. Gives the number of this freeze; one that
  // finds them stopped is the same freeze.
  [[nodiscard]] Outcome<uint64_t> freeze();
  // Lets them run: after an identity was applied.
  void thaw();
  // The same, unless that freeze is over.
  void end(uint64_t freeze);
  [[nodiscard]] bool frozen();

  // What starts a program waits here.
  void wait_until_running();
  // The machine ends: nothing is started any more, whoever waits does so for ever.
  void close_for_good();

 private:
  enum class State { waiting_for_identity, running, frozen, closed };

  [[nodiscard]] Outcome<void> set_frozen(bool frozen);
  [[nodiscard]] Outcome<void> wait_for_kernel();
  void thaw_locked();

  base::Fd cgroup_;
  base::Fd programs_;
  base::Fd command_;
  Mutex mutex_;
  Condition changed_;
  State state_ = State::waiting_for_identity;
  uint64_t freezes_ = 0;
};

}  // namespace microvm::agent
