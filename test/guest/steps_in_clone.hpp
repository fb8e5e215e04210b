// Builds whose steps run in a clone of the counter image. How their guest came to be is not what
// these tests are about, and under emulation a boot takes ten times as long as a clone.
#pragma once

#include <memory>

#include "host/image/step_runner.hpp"
#include "host/store/store.hpp"
#include "host/worker/build_guest.hpp"
#include "host/worker/worker_host.hpp"
#include "microvm/image.hpp"

namespace guest_test {

// For builds that end in their steps: what a step leaves on the disk goes with the clone.
class StepsInClone final : public microvm::host::StepRunner {
 public:
  StepsInClone();
  microvm::Result<std::unique_ptr<microvm::host::BuildGuest>> boot(
      const microvm::host::BuildMachine& machine, const microvm::CallLimits& limits) override;
  microvm::Result<std::unique_ptr<microvm::host::BuildGuest>> restore(
      const microvm::host::BuildMachine& machine, const microvm::host::SnapshotFiles& snapshot,
      const microvm::CallLimits& limits) override;
  // Of the counter image's size, in the tests' data directory.
  microvm::Result<microvm::ImageInfo> build(microvm::BuildOptions options,
                                            const microvm::CallLimits& limits);

 private:
  std::shared_ptr<microvm::host::WorkerHost> host_;
  microvm::host::VmStepRunner clones_;
  microvm::host::ImageEntry image_;
};

}  // namespace guest_test
