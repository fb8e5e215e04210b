// What happened to the Vms of a Runtime, and why.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "microvm/cancel.hpp"
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
    // Its network could not be started, or went away and its flows with it; detail says why. The
    // guest's next packet tries again. Told by each process that talks with its worker.
    network_failed,
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

struct EventOptions {
  bool follow = false;  // also what happens from now on
};

// What happened to the Vms of a data directory, by whatever process, oldest first: the last one to
// two megabytes of it are kept. Movable; one thread at a time. One that follows ends with its
// Runtime: it gives what is there, then the error cancelled.
//
// Flow control: it holds no more than 48 KiB, however little it is read. Who falls more than a
// megabyte behind misses events.
class MICROVM_API EventStream {
 public:
  EventStream(EventStream&&) noexcept;
  EventStream& operator=(EventStream&&) noexcept;
  ~EventStream();

  // Empty: the end of what is there, and always so without `follow`. With it, blocks until
  // something happens, without a limit of its own. What is in the file and no event is passed over.
  // Errors: io, permission_denied; cancelled and deadline_exceeded, which lose nothing.
  Result<std::optional<VmEvent>> next(const CallLimits& limits = {});
  // The same without waiting. Error would_block: nothing has happened, wait for fd().
  Result<std::optional<VmEvent>> try_next();

  // Readable when try_next() has something, and now and then when it has nothing; for poll().
  [[nodiscard]] int fd() const noexcept;

  struct Impl;
  explicit EventStream(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace microvm
