// Whether the sealed disk layers of a saved state are what was sealed. Pages and state carry sums
// of their own; a layer is read by the worker piece by piece, and nothing else would tell.
#pragma once

#include <filesystem>
#include <string>

#include "host/base/limits.hpp"
#include "host/saved/vm_files.hpp"

namespace microvm::host {

// Reads the layer. Errors: io, those of `check`.
Result<LayerCheck> check_layer(const std::filesystem::path& dir, const std::string& name,
                               const CallCheck& check);

// One for each of the state's layers, in `dir`: those that `known` (of the same Vm) has are carried
// over, the others are read.
Result<void> add_checks(SavedState& saved, const std::optional<SavedState>& known,
                        const std::filesystem::path& dir, const CallCheck& check);

// Sizes always; content only of a layer that is not the untouched file it was when it was read last
// (inode and time of change of the content): a resume reads no layer again that nobody wrote to or
// copied. What was read and is good is remembered in saved.json. Errors: corrupt, naming the file;
// cancelled, deadline_exceeded.
Result<void> verify_layers(const std::filesystem::path& dir, const SavedState& saved,
                           const Limits& limits);

}  // namespace microvm::host
