// One worker for one Vm: from the image's snapshot alone, or from a state above it.
#pragma once

#include <vector>

#include "host/saved/vm_directory.hpp"
#include "host/store/image_files.hpp"
#include "host/worker/launch.hpp"

namespace microvm::host {

// What stands above the image. Empty: nothing, the Vm starts where the image was made.
struct StartPoint {
  std::vector<base::Fd> overlays;  // of the memory, lowest first
  base::Fd state;                  // none: the image's
  std::vector<base::Fd> layers;    // of the disk, sealed, lowest first
};

struct StartedWorker {
  Worker worker;
  base::Fd doorbell;  // to be held open as long as the Vm runs
  base::Fd lock;      // of its directory; for an owner to keep
  LaunchTimes times;
};

// The worker an image needs.
Shape shape_of(const ImageManifest& manifest);

// `files`: of the directory, made for this start. Returns when the agent is ready and told who it
// is. Errors: see launch_guest().
Result<StartedWorker> start_worker(Worker worker, const VmRecord& record, const ImageFiles& image,
                                   const StartPoint& point, WorkerFiles files, Identity identity,
                                   const Limits& limits, const LaunchClock& clock,
                                   LaunchTimes times);

// The layers of that name in a Vm's directory, read-only.
Result<std::vector<base::Fd>> open_layers(const std::filesystem::path& dir,
                                          const std::vector<std::string>& names);

}  // namespace microvm::host
