// Hooks: HTTP calls into the app at the turns of its life. Each is
//   POST /microvm/runtime/v1/NAME   HTTP/1.1, Content-Type: application/json, Connection: close
// to one TCP port of the guest's loopback, made from inside the guest. 200 is done. Anything else,
// no answer in time, or nobody who listens for half a second is a failure; of ready and validate,
// 503 and nobody who listens mean: ask again. What else is in the answer does not matter, only that
// its first line stands in the message of a failure.
//
//   hook      when                                   body                         after a failure
//   ready     build: until the app may be            {}                           the build fails
//             snapshotted
//   validate  build: in a throw-away clone of        {}                           the build fails
//             the finished snapshot
//   run       once in each new Vm, forks and those   {"microvmId": its id,        the Vm is
//             of checkpoints too, before the          "runHookPayload": text}     terminated, the
//             caller has it                                                       call fails
//   suspend   before a running Vm is suspended       {"microvmId": its id}        event; goes on
//   resume    after a resume or a rollback, before   {"microvmId": its id}        event; goes on
//             calls reach the guest; also after a
//             suspend that failed
//   terminate before a running Vm is terminated      {"microvmId": its id}        event; goes on
//
// The event is VmEvent::Kind::hook_failed. Neither a checkpoint nor the end of a Vm that sleeps, or
// dies with its owner's process, calls any. Who uses a Vm from elsewhere waits for run and resume.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>

namespace microvm {

inline constexpr const char* kHookPath = "/microvm/runtime/v1/";
inline constexpr uint32_t kMaxRunHookPayloadBytes = 64 * 1024;

// Which hooks an image has: those with a time for their answer. None costs nothing.
struct Hooks {
  uint16_t port = 0;  // of the guest; needed when there is a hook
  std::chrono::milliseconds ready{0};
  std::chrono::milliseconds validate{0};
  std::chrono::milliseconds run{0};
  std::chrono::milliseconds suspend{0};
  std::chrono::milliseconds resume{0};
  std::chrono::milliseconds terminate{0};
};

struct HookKind {
  const char* name;  // the last part of the path
  std::chrono::milliseconds Hooks::* timeout;
  std::chrono::milliseconds usual;    // a time that suits most
  std::chrono::milliseconds longest;  // allowed

  [[nodiscard]] constexpr bool is_on(const Hooks& hooks) const {
    return (hooks.*timeout).count() > 0;
  }
};

inline constexpr std::chrono::seconds kLongestBuildHook{3600};
inline constexpr std::chrono::seconds kLongestHook{60};
inline constexpr HookKind kReadyHook{"ready", &Hooks::ready, std::chrono::seconds(60),
                                     kLongestBuildHook};
inline constexpr HookKind kValidateHook{"validate", &Hooks::validate, std::chrono::seconds(60),
                                        kLongestBuildHook};
inline constexpr HookKind kRunHook{"run", &Hooks::run, std::chrono::seconds(10), kLongestHook};
inline constexpr HookKind kSuspendHook{"suspend", &Hooks::suspend, std::chrono::seconds(10),
                                       kLongestHook};
inline constexpr HookKind kResumeHook{"resume", &Hooks::resume, std::chrono::seconds(10),
                                      kLongestHook};
inline constexpr HookKind kTerminateHook{"terminate", &Hooks::terminate, std::chrono::seconds(5),
                                         kLongestHook};
inline constexpr std::array kHookKinds = {kReadyHook,   kValidateHook, kRunHook,
                                          kSuspendHook, kResumeHook,   kTerminateHook};

}  // namespace microvm
