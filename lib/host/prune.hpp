// Runtime::prune: finds what nobody needs, and frees it under the locks of those who might.
#pragma once

#include <chrono>
#include <string>

#include "host/store/store.hpp"
#include "microvm/prune.hpp"

namespace microvm::host {

// A file that no record names may be about to be named: what is younger than this stays.
inline constexpr std::chrono::minutes kOrphanAge{10};

// What can not be freed now (in use, no permission) stays and is not reported. Errors: io, those of
// `may_go_on`, which is asked before each thing; what was freed before stays freed.
Result<PruneReport> prune(const Store& store, const PruneOptions& options,
                          std::chrono::seconds orphan_age = kOrphanAge,
                          const MayGoOn& may_go_on = {});

// Error busy, with the reason, while a Vm that has not ended or a checkpoint needs the image
// "name:version". One that runs also holds the image's lock.
Result<void> check_image_unused(const Store& store, const std::string& version);

}  // namespace microvm::host
