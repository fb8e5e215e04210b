// Runs a program in a microVM with our streams as its own.
#pragma once

#include "microvm/vm.hpp"

namespace cli {

// Passes output (and, with options.stdin_open, standard input) through until the program ends. Its
// exit code, or 128 + signal. Signals that would end us go to the program, the second kills it
// (128 + signal). Failures of microvm itself are printed and give kMicrovmFailed. `limits` are for
// the start.
int run_in_guest(microvm::Vm& vm, const microvm::ExecOptions& options,
                 const microvm::CallLimits& limits);

// Of a command that got no program to run: 128 + the signal that cut it short, else kMicrovmFailed.
int code_after_failure();

// A program's exit code, or 128 + signal; says why when it was not the program's own doing.
int exit_code_of(const microvm::ExitStatus& status);

}  // namespace cli
