// How a Vm ended, as its worker recorded it (the file exit) and as callers are told.
#pragma once

#include <string>
#include <string_view>

#include "base/error.hpp"
#include "microvm/event.hpp"
#include "microvm/vm.hpp"
#include "wire/control.hpp"

namespace microvm::host {

// Of a Vm that left no word.
[[nodiscard]] VmEnding killed_reason(std::string text = {});
[[nodiscard]] VmEnding end_reason(const wire::ExitEvent& exit);
// The cause for the event (microvm/event.hpp) of an end that nobody of us brought about.
std::string_view cause_of_end(const VmEnding& reason, bool dies_with_owner);
// "the guest powered off", "the guest's kernel panicked: …"
std::string describe_exit(const wire::ExitEvent& exit);
// The error of a call that the end of the Vm cut short: guest_failed when the guest broke down,
// else vm_gone. `what` begins the message.
Error exit_error(std::string_view what, const wire::ExitEvent& exit);

}  // namespace microvm::host
