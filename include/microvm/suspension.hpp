// How a microVM is suspended and resumed, and what that cost.
#pragma once

#include <cstdint>
#include <optional>

#include "microvm/idle.hpp"

namespace microvm {

struct SuspendOptions {
  // True: suspend() returns when the state is on the disk and the worker's memory is free. False:
  // when the guest has stopped; the rest goes on in the background and the state is `suspending`.
  // What it did since it was last saved is then lost if its worker is killed before that is done.
  bool wait_durable = true;
};

// What a suspend cost, from its call. Microseconds, bytes.
struct SuspendTimes {
  uint64_t pause_us = 0;         // in the worker: to stop the guest and take its state
  uint64_t acknowledged_us = 0;  // … the suspend hook, the guest has stopped
  uint64_t durable_us = 0;       // … it is committed to the disk and the worker is gone
  uint64_t changed_bytes = 0;    // pages written since its worker started, its working set too
  uint64_t stored_bytes = 0;     // on disk, compressed
};

struct ResumeOptions {
  // From now on, in place of the recorded one: it is recorded, also when the resume fails, and
  // carried out by this Runtime (idle.hpp), also when the guest runs already. Empty: the recorded
  // one.
  std::optional<IdlePolicy> idle;
};

}  // namespace microvm
