// From a shaped worker to a guest whose agent is ready: the same for a cold boot and a restore. It
// runs on the caller's thread alone; the reactor takes the control socket over afterwards.
#pragma once

#include <span>

#include "host/base/stopwatch.hpp"
#include "host/session/doorbell.hpp"
#include "host/worker/control_client.hpp"
#include "host/worker/worker.hpp"
#include "microvm/vm.hpp"
#include "wire/control.hpp"

namespace microvm::host {

// `request` is a BootRequest or a RestoreRequest, `fds` what it says. Fills times.restore_us,
// agent_us and ready_us. Returns the doorbell, to be held as long as the Vm is.
// `ahead`: an operation's connection to the agent is asked for while it takes its identity. Once
// this has succeeded the answer is the ControlClient's to read. Errors: the worker's own (corrupt,
// incompatible_cpu, …); guest_failed with the kernel's last words when the guest ends or its agent
// is not ready in time; cancelled.
Result<HeldDoorbell> launch_guest(Worker& worker, wire::Message request, std::span<const int> fds,
                                  Identity identity, const Limits& limits, const Stopwatch& clock,
                                  LaunchTimes& times,
                                  ControlClient::Ahead ahead = ControlClient::Ahead::none);

// The last `lines` lines that are not empty.
std::string last_lines(std::string_view text, size_t lines);

}  // namespace microvm::host
