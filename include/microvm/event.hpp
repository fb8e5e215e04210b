// What happened to the Vms of a Runtime, and why.
#pragma once

#include <cstdint>
#include <string>

#include "microvm/error.hpp"

namespace microvm {

struct VmEvent {
  enum class Kind {
    started,
    suspending,  // the guest has stopped
    suspended,   // its state is on the disk
    resumed,
    runs_on,  // a suspend failed: detail says why
    forked,
    checkpointed,
    rolled_back,
    terminated,
    hook_failed,  // detail names the hook and says why; what it was for goes on
  };
  std::string time;  // RFC 3339, UTC
  std::string vm_id;
  Kind kind = Kind::started;
  std::string cause;     // "call", "idle", "guest", "lifetime", "suspended too long", "exec", …
  uint64_t took_us = 0;  // what it cost, hooks included
  std::string detail;    // one line, may be empty
};
MICROVM_API const char* vm_event_name(VmEvent::Kind kind) noexcept;

}  // namespace microvm
