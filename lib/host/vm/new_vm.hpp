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

// Takes a worker, makes the directory, starts it and calls its run hook. Nothing stays behind when
// it fails. `starting` bounds the start; the hook has a time of its own within `limits`. Errors:
// invalid_argument (the payload), …
Result<std::shared_ptr<Vm::Impl>> start_new_vm(const std::shared_ptr<Core>& core,
                                               const ImageFiles& image, const NewVmOrigin& origin,
                                               const RunOptions& options, const Limits& starting,
                                               const Limits& limits, const LaunchClock& clock);

}  // namespace microvm::host
