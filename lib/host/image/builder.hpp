// From a Dockerfile to an image version in the store. Two guests: one runs the steps and powers off
// cleanly, a fresh one starts the image's command and is snapshotted when the app is ready, so that
// the snapshot's memory holds the app and not the build's leftovers.
#pragma once

#include "base/error.hpp"
#include "host/image/step_runner.hpp"
#include "host/store/store.hpp"
#include "microvm/image.hpp"

namespace microvm::host {

// Errors: syntax and invalid_argument (the Dockerfile, a COPY source: file:line), build_failed (a
// step's last output and exit code), guest_failed, out_of_disk, cancelled. Nothing stays behind.
[[nodiscard]] Result<ImageInfo> build_image(const Store& store, StepRunner& runner,
                                            const BuildOptions& options,
                                            const CallLimits& limits = {});

}  // namespace microvm::host
