// What happened to the Vms of a Runtime, and why.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "microvm/error.hpp"
#include "microvm/vm_end.hpp"

namespace microvm {

// Values of VmEvent::cause. A suspended Vm that was resumed for the sake of another call has what
// that call was about to do instead: "exec", "connect", "read a file", …
inline constexpr std::string_view kCauseCall = "call";                     // suspend(), fork(), …
inline constexpr std::string_view kCauseIdle = "idle";                     // IdlePolicy::idle_after
inline constexpr std::string_view kCauseGuest = "the guest asked for it";  // /run/microvm/suspend
inline constexpr std::string_view kCauseSlept = "slept too long";  // IdlePolicy::suspended_for
inline constexpr std::string_view kCauseLifetime = "lifetime";     // IdlePolicy::lifetime
inline constexpr std::string_view kCauseRunHook = "run hook";      // that failed
inline constexpr std::string_view kCauseItself = "itself";  // it ended; detail says in what way
inline constexpr std::string_view kCauseOwner = "owner";    // that it dies with went away

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
    // Told at once, also of one that ended by itself, and once: by the process that ends it, else
    // by the first that sees it (one that has the Vm in use; who opens the data directory when its
    // owner has died; who asks later how it ended). The detail is the reason.
    terminated,
    hook_failed,  // detail names the hook and says why; what it was for goes on
  };
  std::string time;  // RFC 3339, UTC
  std::string vm_id;
  Kind kind = Kind::started;
  std::string cause;        // kCauseCall, …
  uint64_t took_us = 0;     // what it cost, hooks included
  std::string detail;       // one line, may be empty
  VmEnd end = VmEnd::none;  // of terminated; none in what an older version has told
};
MICROVM_API const char* vm_event_name(VmEvent::Kind kind) noexcept;

}  // namespace microvm
