// One change of a Vm's state at a time, among all processes that use the data directory: a flock on
// the file "change" in the Vm's directory. It ends with the process that holds it.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/error.hpp"
#include "host/base/held_lock.hpp"
#include "host/base/limits.hpp"

namespace microvm::host {

// Held until the last copy is gone.
using ChangeHold = HeldLock;

// Waits while somebody else holds it. That of a Vm which has been removed is free for everybody.
// Errors: cancelled, deadline_exceeded, io.
Result<ChangeHold> hold_change(const std::filesystem::path& vm_dir, const Limits& limits,
                               std::string_view what);
// Whether somebody holds it; this process may be who.
bool is_change_held(const std::filesystem::path& vm_dir);

}  // namespace microvm::host
