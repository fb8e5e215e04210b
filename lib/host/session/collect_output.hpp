// A program run to its end: what it is to read, and what it puts out.
#pragma once

#include "host/base/limits.hpp"
#include "microvm/exec.hpp"

namespace microvm::host {

// In one thread: a program that is not read from may not read either. Errors: those of the handle.
Result<ExecResult> collect_output(Exec& program, const CollectOptions& options,
                                  const Limits& limits);

}  // namespace microvm::host
