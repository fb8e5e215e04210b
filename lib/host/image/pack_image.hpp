// The at-rest form of an image: its memory as independent zstd frames, and back.
#pragma once

#include <string>

#include "host/store/store.hpp"
#include "microvm/image.hpp"

namespace microvm::host {

// Nothing changes when the image has that form already, or when it fails. Errors: not_found, busy
// (somebody uses it), corrupt, out_of_disk, cancelled, deadline_exceeded.
Result<ImageInfo> pack_image(const Store& store, const std::string& reference,
                             const ProgressSink& progress, const CallLimits& limits);
Result<ImageInfo> unpack_image(const Store& store, const std::string& reference,
                               const ProgressSink& progress, const CallLimits& limits);

}  // namespace microvm::host
