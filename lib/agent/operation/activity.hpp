// What keeps a guest awake: the host asks, its idle policy decides.
#pragma once

#include "agent/link/channel.hpp"

namespace microvm::agent {

struct Guest;

// Programs in the guest hold it awake, or ask for its suspension, with a file of these names.
inline constexpr const char* kKeepAwakeFile = "/run/microvm/keep-awake";
inline constexpr const char* kSuspendFile = "/run/microvm/suspend";

// Answers activity_report.
[[nodiscard]] Outcome<void> run_activity(Guest& guest, Channel& channel);

}  // namespace microvm::agent
