// From a pooled worker to a guest whose agent is ready: the same for a launch, a resume and a guest
// of a build.
#pragma once

#include <vector>

#include "host/saved/vm_directory.hpp"
#include "host/store/image_files.hpp"
#include "host/worker/launch.hpp"
#include "host/worker/worker_host.hpp"

namespace microvm::host {

// What stands above the image. Empty: nothing, the Vm starts where the image was made.
struct StartPoint {
  std::vector<base::Fd> overlays;  // of the memory, lowest first
  base::Fd state;                  // none: the image's
  std::vector<base::Fd> layers;    // of the disk, sealed, lowest first
  // It goes on where it was. It has to do what the image's clones do first, and touches their
  // pages.
  bool resumes = false;
};

struct StartedWorker {
  Worker worker;
  HeldDoorbell doorbell;  // as long as the Vm runs
  base::Fd lock;          // of its directory; for an owner to keep
  LaunchTimes times;
  PoolRefill refill;  // as StartedGuest's
};

// The worker an image needs.
Shape shape_of(const ImageManifest& manifest);

// A worker of the right shape in one's hands, and how long that took.
struct TakenWorker {
  Worker worker;
  PoolRefill refill;
  LaunchTimes times;
};
Result<TakenWorker> take_worker(WorkerHost& host, const Shape& shape, const Limits& limits,
                                const Stopwatch& clock);

// What a guest is started with. What is referred to outlives the start.
struct GuestStart {
  TakenWorker taken;
  wire::Message request;        // BootRequest or RestoreRequest
  const std::vector<int>& fds;  // as the request says
  Identity identity;
  int home = -1;  // of a guest with network user: the directory with its setup
  const Limits& limits;
  const Stopwatch& clock;
  ControlClient::Ahead ahead = ControlClient::Ahead::none;  // see launch_guest()
};

struct StartedGuest {
  Worker worker;
  HeldDoorbell doorbell;  // as long as the guest runs
  LaunchTimes times;
  PoolRefill refill;  // to be dropped when the guest has done what it was started for
};

// Returns when the agent is ready and told who it is. Errors: see launch_guest().
Result<StartedGuest> start_guest(GuestStart start);

// The same for a Vm that has a directory.
struct WorkerStart {
  std::string_view what;  // begins a refusal
  TakenWorker taken;
  const VmRecord& record;  // it stands in the directory, with the run it begins
  const ImageFiles& image;
  const StartPoint& point;
  WorkerFiles files;  // of the directory, made for this start
  int tap = -1;       // of the record's network; none: its link is down
  Identity identity;
  const Limits& limits;
  const Stopwatch& clock;
};

// With Ahead::asked. Errors: out_of_memory (the embedder's limit), those of start_guest().
Result<StartedWorker> start_worker(WorkerHost& host, WorkerStart start);

// The layers of that name in a Vm's directory, read-only.
Result<std::vector<base::Fd>> open_layers(const std::filesystem::path& dir,
                                          const std::vector<std::string>& names);

}  // namespace microvm::host
