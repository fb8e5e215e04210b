// Takes the state of a machine that runs on afterwards: what differs from the files below it.
#pragma once

#include <chrono>
#include <cstdint>

#include "base/error.hpp"
#include "vmm/machine/machine.hpp"

namespace microvm::vmm::snapshot {

struct CaptureFiles {
  int pages = -1;  // both empty regular files, neither synced nor closed here
  int state = -1;
};

enum class Pages {
  written,      // since the machine started
  and_overlays  // also those of the overlays it was started with
};

struct CaptureOptions {
  Pages pages = Pages::written;
  // For a guest that goes on: all that can be done before it is stopped is, and takes longer.
  bool short_pause = false;
  // The overlay ends with the list of its pages (state/overlay.hpp).
  bool list_pages = false;
};

struct Captured {
  uint64_t page_bytes = 0;  // of data in the overlay
  std::chrono::steady_clock::time_point stopped;
};

// Stops the vCPUs, drains and flushes the devices, and writes the state and the pages as an overlay
// (GuestMemory::add_overlay) for the memory the machine was started from. The machine is left
// paused and whole; after an error it may run still, and the files are of no use. Errors:
// out_of_disk, io, deadline_exceeded, vm_gone, invalid_argument (files not empty).
Result<Captured> capture(Machine& machine, const CaptureFiles& files,
                         const CaptureOptions& options);

}  // namespace microvm::vmm::snapshot
