// Takes the state of a machine that runs on afterwards: what differs from the files below it.
#pragma once

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

// Stops the vCPUs, drains and flushes the devices, and writes the state and the pages as an overlay
// (GuestMemory::add_overlay) for the memory the machine was started from. The result is the bytes
// of data in the overlay. The machine is left paused and whole, also when this fails; the files are
// then of no use. Errors: out_of_disk, io, deadline_exceeded, vm_gone, invalid_argument (files not
// empty).
Result<uint64_t> capture(Machine& machine, const CaptureFiles& files, Pages pages);

}  // namespace microvm::vmm::snapshot
