// Fills a shaped machine from a snapshot.
#pragma once

#include <chrono>
#include <span>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "vmm/machine/machine.hpp"

namespace microvm::vmm::snapshot {

struct RestoreFiles {
  int memory = -1;
  int state = -1;
  std::span<const base::Fd> overlays;  // of the memory, in order: GuestMemory::add_overlay
};

// When each step was done.
struct RestoreTimes {
  using Time = std::chrono::steady_clock::time_point;
  Time checked;  // the state was read and found good
  Time mapped;
  Time applied;
};

// The machine has its devices and has not run. Memory is mapped private, so nothing is read and the
// files must not change while the machine lives. All are untrusted: whatever is in them, the
// guest may be wrong, never the worker. After a failure the machine is of no further use.
// Errors: corrupt, unsupported (newer format), invalid_argument (another shape), incompatible_cpu
// (what the host lacks is in the message), io.
Result<RestoreTimes> restore(Machine& machine, const RestoreFiles& files);

}  // namespace microvm::vmm::snapshot
