// exec ls, attach, kill and wait: programs that run already.
#pragma once

#include "command.hpp"

namespace cli {

// The first word is one of these commands. A microVM may have the same name; that is said.
bool is_exec_command(const Arguments& arguments);
int exec_command(const Context& context, const Arguments& arguments);

}  // namespace cli
