// A Vm that does not exist yet: its directory, its identity, its first worker.
#pragma once

#include <memory>

#include "host/vm/vm_impl.hpp"
#include "host/worker/start_worker.hpp"

namespace microvm::host {

// What a new Vm begins with when it is not the image itself: the layers are files of another
// directory, which get names in the new one.
struct NewVmOrigin {
  std::filesystem::path layer_dir;
  std::vector<std::string> layers;  // sealed, lowest first
  std::vector<int> overlays;        // borrowed
  int state = -1;                   // borrowed; -1: the image's
};

// What is referred to outlives the start.
struct NewVm {
  const ImageFiles& image;
  const NewVmOrigin& origin;
  const RunOptions& options;
  const Limits& starting;  // of the start
  const Limits& whole;     // of the call: within them the run hook has a time of its own
  const Stopwatch& clock;
};

// Takes a worker, makes the directory, starts it and calls its run hook. Nothing stays behind when
// it fails. Errors: invalid_argument (the payload), …
Result<std::shared_ptr<Vm::Impl>> start_new_vm(const std::shared_ptr<Core>& core,
                                               const NewVm& what);

}  // namespace microvm::host
