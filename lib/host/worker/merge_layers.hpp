// A Vm gets a new disk layer with every suspend, checkpoint and fork. Reading through many of them
// costs, so those of a saved state are merged when there are too many.
#pragma once

#include "host/saved/vm_files.hpp"
#include "host/worker/worker.hpp"

namespace microvm::host {

// Private layers of a state that are left alone.
inline constexpr size_t kMaxSavedLayers = 8;
// A running Vm with as many takes its next state by way of the disk, so that they are merged.
inline constexpr size_t kMaxLiveLayers = 20;

// Merges the layers of the saved state from below until few are left; a layer that has other names
// is copied first. After every step, and whenever this is interrupted, saved.json names a whole
// state. Nothing runs from the state. Errors: out_of_disk, corrupt, cancelled, …
Result<void> merge_saved_layers(WorkerSpawner& spawner, const std::filesystem::path& dir,
                                SavedState& saved, const Limits& limits);

}  // namespace microvm::host
