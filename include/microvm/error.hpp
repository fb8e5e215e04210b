// Errors of the library: a code a program can switch on and one line a person can act on.
#pragma once

#include <cstdint>
#include <string>
#include <tl/expected.hpp>

#if defined(__GNUC__)
#define MICROVM_API __attribute__((visibility("default")))
#else
#define MICROVM_API
#endif

namespace microvm {

enum class ErrorCode : uint32_t {
  invalid_argument = 1,   // the caller's input is wrong; the message names it
  not_found = 2,          // no such image, vm, kernel, file
  already_exists = 3,     //
  permission_denied = 4,  // the operating system refused
  unsupported = 5,        // valid, but this host or version cannot do it
  busy = 6,               // the object is in a state that excludes the call
  cancelled = 7,          // the caller's CancelToken fired
  deadline_exceeded = 8,  // the caller's or the library's time limit passed
  out_of_disk = 9,        // ENOSPC, EDQUOT
  out_of_memory = 10,     //
  corrupt = 11,           // a snapshot, layer or manifest fails its checks
  incompatible_cpu = 12,  // the snapshot needs CPU features this host lacks; the message lists them
  kvm_unavailable = 13,   // no /dev/kvm, or no permission to open it
  kvm_unsuitable = 14,    // /dev/kvm opens but cannot run a stock kernel
  build_failed = 15,      // a Dockerfile step failed; the message has its last output and exit code
  syntax = 16,            // Dockerfile or manifest syntax: file:line in the message
  guest_failed = 17,      // the guest panicked, hung or powered off when it should not have
  vm_gone = 18,           // the microVM or its worker has ended
  connection_refused = 19,  // nothing listens on that guest port
  io = 20,                  // any other operating system error
  protocol = 21,            // a peer (worker, agent) broke the wire format
  internal = 22,            // a bug of the library
  vm_suspended =
      23,  // the Vm was suspended or rolled back under a stream: attach again once it runs
  would_block = 24,  // nothing is there now: wait for the stream's fd()
};

// The name of a code as it stands above, for logs and JSON.
MICROVM_API const char* error_code_name(ErrorCode code) noexcept;

struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string
      message;  // one lower-case line: what failed, why, and what to do where something can be done
};

// The interface of std::expected. Errors are values; no function of the library throws.
template <class T>
using Result = tl::expected<T, Error>;

}  // namespace microvm
