// Couples our terminal to one in a microVM.
#pragma once

#include <string>

#include "microvm/vm.hpp"

namespace cli {

struct TerminalUse {
  bool input = true;        // our keys go to the program
  std::string detach_keys;  // as bytes; empty: none
  std::string vm;           // as the user calls it, for the hint how to come back
  const microvm::CancelToken* cancel = nullptr;  // the command's own; borrowed
};

// Until the program ends (its exit code, or 128 + signal), the detach keys are typed (kOk, and says
// how to come back), a signal ends us (kMicrovmFailed, and says that too), our output fails (see
// output_failed()), or microvm fails (kMicrovmFailed).
int run_in_terminal(microvm::Pty& pty, const TerminalUse& use);

// Opens a terminal for this program and does so. Error: printed, kMicrovmFailed.
int open_terminal(microvm::Vm& vm, const microvm::ExecOptions& program, const TerminalUse& use);
// The same program's options for a terminal like ours.
microvm::PtyOptions terminal_options(const microvm::ExecOptions& program);

// False, and said: our keys are wanted, and standard input is no terminal.
bool can_lend_terminal(const std::string& command, bool input);

}  // namespace cli
