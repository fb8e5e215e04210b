// Carries out a plan's steps in a booted guest.
#pragma once

#include "base/error.hpp"
#include "host/base/limits.hpp"
#include "host/image/build_plan.hpp"
#include "host/image/step_runner.hpp"
#include "microvm/image.hpp"

namespace microvm::host {

struct StepContext {
  const Dockerfile& file;
  const BuildContext& context;
  BuildGuest& guest;
  const CallCheck& may_go_on;
  const ProgressSink& progress;
};

// `number` of `count`, for progress. Errors carry file:line.
Result<void> run_step(const StepContext& with, const PlannedStep& step, size_t number,
                      size_t count);

}  // namespace microvm::host
