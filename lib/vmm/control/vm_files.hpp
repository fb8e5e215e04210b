// The fds of a Boot or Restore request, each in its place.
#pragma once

#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "wire/control.hpp"

namespace microvm::vmm::control {

struct VmFiles {
  base::Fd first;   // vmlinux, or memory
  base::Fd second;  // initramfs, or state
  base::Fd listener;
  base::Fd exit_record;
  base::Fd kernel_log;
  base::Fd app_log;
  std::vector<base::Fd> overlays;            // of the memory
  std::vector<std::vector<base::Fd>> disks;  // the layers of each, base first
  base::Fd working_set;                      // if one was announced
  std::vector<base::Fd> leases;
};

// Error invalid_argument when there are fewer fds than the request needs, too many overlays, or a
// disk of no or too many layers.
Result<VmFiles> sort_files(std::vector<base::Fd> fds, size_t overlays,
                           const std::vector<wire::DiskSpec>& disks, bool working_set = false);

}  // namespace microvm::vmm::control
