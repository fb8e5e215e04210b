// The end of the machine.
#pragma once

#include <string_view>

#include "agent/operation/guest.hpp"

namespace microvm::agent {

// Asks the image's command to end, gives it time, and ends the machine.
void stop_machine(Guest& guest);

// Kills all programs, writes the disk and turns the power off.
void end_machine(Guest& guest);

// The guest cannot be what it should be: says so in the kernel log and turns the power off.
[[noreturn]] void give_up_booting(std::string_view reason);

}  // namespace microvm::agent
