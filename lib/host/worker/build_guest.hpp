// The guests of a build, known to nobody else: cold-booted from kernel, initramfs and disk layers,
// or restored from the snapshot that is being made, to try it out.
#pragma once

#include <memory>

#include "host/image/step_runner.hpp"
#include "host/worker/worker_host.hpp"
#include "wire/start_fds.hpp"

namespace microvm::host {

class VmStepRunner : public StepRunner {
 public:
  explicit VmStepRunner(std::shared_ptr<WorkerHost> host) : host_(std::move(host)) {}

  // Errors: corrupt (the kernel's files), kvm_unavailable, guest_failed with the kernel's last
  // words when the agent is not ready within two minutes.
  Result<std::unique_ptr<BuildGuest>> boot(const BuildMachine& machine,
                                           const CallLimits& limits) override;
  // Errors: the worker's own (corrupt, …), guest_failed when the agent is not ready within two
  // minutes.
  Result<std::unique_ptr<BuildGuest>> restore(const BuildMachine& machine,
                                              const SnapshotFiles& snapshot,
                                              const CallLimits& limits) override;

 private:
  struct Files;
  static Result<Files> open_boot_files(const Store& store, const BuildMachine& machine);
  static Result<Files> open_snapshot_files(const Store& store, const BuildMachine& machine,
                                           const SnapshotFiles& snapshot);
  Result<std::unique_ptr<BuildGuest>> launch(const BuildMachine& machine, Files files,
                                             wire::Message request, const std::vector<int>& fds,
                                             const Limits& limits);

  std::shared_ptr<WorkerHost> host_;
};

}  // namespace microvm::host
