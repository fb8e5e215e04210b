// Takes a snapshot of a running or paused machine.
#pragma once

#include <cstdint>

#include "base/error.hpp"
#include "vmm/machine/machine.hpp"

namespace microvm::vmm::snapshot {

struct Saved {
  uint64_t memory_bytes = 0;       // size of the memory file
  uint64_t memory_data_bytes = 0;  // of it, not holes
};

// Stops the vCPUs, stops and drains the devices, flushes the disks, then writes memory (zero pages
// as holes) and state into two empty regular files, which are neither synced nor closed. The
// machine is left paused, and whole, also when this fails: run() continues it.
// Errors: out_of_disk, io, deadline_exceeded, invalid_argument (files not empty).
Result<Saved> save(Machine& machine, int memory_fd, int state_fd);

}  // namespace microvm::vmm::snapshot
