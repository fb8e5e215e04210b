// What a data directory holds that nobody needs, and how to be rid of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "microvm/error.hpp"

namespace microvm {

// By default only what nobody can use any more: the records and logs of detached Vms that ended,
// what killed processes left half-written or half-removed, files of a Vm that its saved state does
// not name, base content without a name. What a Vm, a checkpoint or an image needs is never freed,
// whatever the options say, and neither is anything in use by any process.
struct PruneOptions {
  bool dry_run = false;  // only look
  // Also image versions that are not the newest of their name and that no Vm and no checkpoint
  // needs.
  bool images = false;
  // Also bases and kernels that no image (left by then) was built with.
  bool bases_and_kernels = false;
};

struct PrunedItem {
  enum class Kind {
    vm,        // an ended one
    file,      // of a Vm or a checkpoint; name: "<id>/<file>"
    leftover,  // of a process that is gone
    image,
    base,
    kernel,
  };
  Kind kind = Kind::vm;
  std::string name;    // an id, a name, or "name:version"
  uint64_t bytes = 0;  // given back to the disk; what others share with it is not counted
};
MICROVM_API const char* pruned_kind_name(PrunedItem::Kind kind) noexcept;

struct PruneReport {
  std::vector<PrunedItem> items;  // freed; of a dry run: that would be
  uint64_t bytes = 0;             // of all of them
};

}  // namespace microvm
