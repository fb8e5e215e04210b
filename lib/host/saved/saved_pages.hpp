// The pages of a Vm: taken from a running one, packed into the files of a saved state, and back.
#pragma once

#include <atomic>
#include <filesystem>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "host/base/limits.hpp"
#include "host/saved/vm_files.hpp"

namespace microvm::host {

struct Captured {
  base::Fd pages;  // overlay in memory: what was written since the worker started, or all_pages
  base::Fd state;  // in memory
  std::vector<std::string> layers;        // in the Vm's directory, sealed, lowest first
  std::vector<std::string> pages_before;  // at rest in the Vm's directory: belongs below `pages`
  uint64_t memory_bytes = 0;  // what `pages` covers, which has a page list behind that; or 0
  uint64_t page_bytes = 0;
  uint64_t pause_us = 0;
  bool unwritten = false;  // pages, state and the uppermost layer (write_captured())
};

// A file in memory, or in `dir` where those take much more than is written, to write an overlay to:
// all of `bytes` is a hole.
Result<base::Fd> make_overlay(const std::filesystem::path& dir, uint64_t bytes);

// Compresses it into new numbered files of `to`, synced, and gives layers and older pages names
// there; reads the layers that were sealed since the last time, for their digests. Nothing refers
// to them yet: see write_saved(). What it made is removed when it fails. `stop` and `limits` are
// looked at between frames. Errors: out_of_disk, io, cancelled, deadline_exceeded.
Result<SavedState> save_captured(const Captured& captured, const std::filesystem::path& vm_dir,
                                 const std::filesystem::path& to, const std::atomic<bool>* stop,
                                 const Limits& limits);

// The pages of a saved state as one overlay in memory, with its page list. Errors: corrupt, naming
// the file, …
Result<base::Fd> expand_pages(const std::filesystem::path& dir, const SavedState& saved,
                              uint64_t memory_bytes);

}  // namespace microvm::host
