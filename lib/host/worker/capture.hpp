// The state of a running Vm, taken: what suspend, checkpoint and fork have in common.
#pragma once

#include "host/saved/saved_pages.hpp"
#include "host/worker/control_client.hpp"

namespace microvm::host {

struct CaptureOptions {
  bool run_on = true;      // false: the guest stays paused, until the asking process goes away
  bool all_pages = false;  // nothing stands below `pages` but the image
};

// The agent was frozen before, or the state is of no use but to go on itself. When it fails the
// guest runs on as before. Errors: the worker's own, out_of_disk, cancelled, deadline_exceeded.
Result<Captured> capture(const std::filesystem::path& vm_dir, ControlClient& client,
                         const CaptureOptions& options, const Limits& limits);

}  // namespace microvm::host
