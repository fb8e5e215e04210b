// Takes the state of a machine that runs on afterwards: what differs from the files below it.
#pragma once

#include <chrono>
#include <cstdint>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "vmm/machine/machine.hpp"

namespace microvm::vmm::snapshot {

// Pieces of an overlay. Some captures above each other are one list (state::kMaxOverlayRuns).
inline constexpr size_t kMaxCaptureRanges = 4096;

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

// The same in two parts, for a machine that stays paused and an overlay with its list: what must be
// before its guest is called suspended, and what somebody else waits for. It ends when the machine
// runs on.
class LateCapture {
 public:
  // Stops the vCPUs and drains the devices; then it is known which pages there are. The disks are
  // not flushed. Errors: as above.
  static Result<LateCapture> take(Machine& machine, base::Fd pages, base::Fd state, Pages which);

  [[nodiscard]] uint64_t page_bytes() const { return total_bytes(ranges_); }
  [[nodiscard]] std::chrono::steady_clock::time_point stopped() const { return stopped_; }

  // Once the disks are flushed, again and again: a part of what is to be written. True: that was
  // all. Errors: as above.
  Result<bool> write_some(Machine& machine);

 private:
  LateCapture(base::Fd pages, base::Fd state, PageRanges ranges,
              std::chrono::steady_clock::time_point stopped)
      : pages_(std::move(pages)),
        state_(std::move(state)),
        ranges_(std::move(ranges)),
        stopped_(stopped) {}

  base::Fd pages_;
  base::Fd state_;
  PageRanges ranges_;
  std::chrono::steady_clock::time_point stopped_;
  bool state_written_ = false;
  size_t next_ = 0;       // of the ranges
  uint64_t written_ = 0;  // of that one
};

}  // namespace microvm::vmm::snapshot
