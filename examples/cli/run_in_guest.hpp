// Couples our standard streams to a program in a microVM.
#pragma once

#include <string>

#include "microvm/vm.hpp"

namespace cli {

struct ProgramUse {
  std::string vm;            // as the user calls it, for the hint how to come back
  bool input = false;        // our standard input is the program's
  bool pass_signals = true;  // false: they end us, and the program goes on
  // False: another client started it, so that leaving it does not end it.
  bool is_ours = true;
};

// Passes streams through until the program ends. Its exit code, or 128 + signal. Signals that would
// end us go to the program, a second one kills it (128 + signal); without `pass_signals` the first
// leaves it running (kOk). Failures of microvm itself are printed and give kMicrovmFailed; of a
// microVM that was suspended with how to attach again.
int run_program(microvm::Vm& vm, microvm::Exec& program, const ProgramUse& use,
                const microvm::CancelToken& cancel);

// The same with a program that is started first.
int run_in_guest(microvm::Vm& vm, const microvm::ExecOptions& options, const ProgramUse& use,
                 const microvm::CancelToken& cancel);

// Of a command that got no program to run: 128 + the signal that cut it short, else kMicrovmFailed.
int code_after_failure();

// A program's exit code, or 128 + signal; says why when it was not the program's own doing.
int exit_code_of(const microvm::ExitStatus& status);

}  // namespace cli
