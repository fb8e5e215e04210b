// From an image to a running Vm, and from an id to the Vm it stands for.
#pragma once

#include <memory>
#include <string>

#include "host/saved/checkpoints.hpp"
#include "host/vm/core.hpp"
#include "host/vm/vm_impl.hpp"

namespace microvm::host {

// Runtime::run(). Nothing stays behind when it fails.
Result<std::shared_ptr<Vm::Impl>> start_vm(const std::shared_ptr<Core>& core,
                                           const std::string& image, const RunOptions& options,
                                           const CallLimits& limits);

// Runtime::run_checkpoint(). Nothing stays behind when it fails.
Result<std::shared_ptr<Vm::Impl>> start_checkpoint(const std::shared_ptr<Core>& core,
                                                   const Checkpoint& checkpoint,
                                                   const RunOptions& options,
                                                   const CallLimits& limits);

// Reads what a launch would otherwise read first: after a build, so that no run() pays for it.
Result<void> verify_image(const Store& store, const std::string& reference,
                          const CallLimits& limits);

// The image of a record, for what exec needs of it. The Vm itself keeps it from being removed.
Result<std::shared_ptr<Vm::Impl>> attach_vm(const std::shared_ptr<Core>& core,
                                            const std::string& id_or_name);

}  // namespace microvm::host
