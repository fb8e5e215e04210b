// Runs a program in a microVM with our streams as its own.
#pragma once

#include "microvm/vm.hpp"

namespace cli {

// Passes output (and, with options.stdin_open, standard input) through until the program ends. Its
// exit code, or 128 + signal. Failures of microvm itself are printed and give kMicrovmFailed.
int run_in_guest(microvm::Vm& vm, const microvm::ExecOptions& options,
                 const microvm::CancelToken* cancel);

}  // namespace cli
