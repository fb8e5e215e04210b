// checkpoints/<id>/: checkpoint.json, saved.json and the files it names (vm_files.hpp), under names
// of their own: a file that a Vm or another checkpoint also has is one file with two names, so
// nothing is lost when one of them goes. An entry is whole or not there.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "host/saved/vm_files.hpp"
#include "host/store/store.hpp"
#include "microvm/checkpoint.hpp"

namespace microvm::host {

struct Checkpoint {
  CheckpointInfo info;
  SavedState saved;
  std::filesystem::path dir;
};

inline constexpr uint64_t kCheckpointSchema = 1;

// Errors of the parser, which name `file`: corrupt, unsupported (a newer schema).
std::string encode_checkpoint(const CheckpointInfo& info);
Result<CheckpointInfo> parse_checkpoint(std::string_view text, const std::string& file);

// Error already_exists: a checkpoint has that name, also one that only a newer library can read. It
// may have one by the time of the commit.
Result<void> check_checkpoint_name_free(const Store& store, const std::string& name);
// Adds it; gives it its id. `entry` has the files that `saved` names. Error: already_exists (the
// name).
Result<CheckpointInfo> commit_checkpoint(const Store& store, TempEntry entry, CheckpointInfo info,
                                         const SavedState& saved, const MayGoOn& may_go_on = {});
// By time.
Result<Listing<CheckpointInfo>> list_checkpoints(const Store& store, const MayGoOn& may_go_on = {});
// By id, name or an unambiguous beginning of the id. Errors: not_found, invalid_argument, corrupt,
// unsupported.
Result<Checkpoint> open_checkpoint(const Store& store, const std::string& id_or_name);
// Vms that were started from it or rolled back to it go on.
Result<void> remove_checkpoint(const Store& store, const std::string& id_or_name,
                               const CallLimits& limits = {});

// The checkpoint as the next version of an image. What it holds is written out in full: a launch
// from it costs what one of any other image does. Errors: corrupt, out_of_disk, invalid_argument,
// cancelled, …
Result<ImageInfo> commit_image_of(const Store& store, const Checkpoint& checkpoint,
                                  const std::string& image_name, const CallLimits& limits);

}  // namespace microvm::host
