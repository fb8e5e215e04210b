// The guests of a build: cold-booted from kernel, initramfs and disk layers, known to nobody else.
#pragma once

#include <memory>

#include "host/image/step_runner.hpp"
#include "host/vm/core.hpp"

namespace microvm::host {

class VmStepRunner : public StepRunner {
 public:
  explicit VmStepRunner(std::shared_ptr<Core> core) : core_(std::move(core)) {}

  // Errors: corrupt (the kernel's files), kvm_unavailable, guest_failed with the kernel's last
  // words when the agent is not ready within two minutes.
  Result<std::unique_ptr<BuildGuest>> boot(const BuildMachine& machine,
                                           const CallLimits& limits) override;

 private:
  std::shared_ptr<Core> core_;
};

}  // namespace microvm::host
