#include "host/saved/checkpoints.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <tuple>

#include "host/base/printable.hpp"
#include "host/base/random.hpp"
#include "host/saved/vm_directory.hpp"
#include "host/store/entry_lock.hpp"
#include "host/store/files.hpp"
#include "host/store/json_fields.hpp"
#include "host/store/names.hpp"
#include "wire/shape.hpp"

namespace microvm::host {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRecordFile = "checkpoint.json";
constexpr size_t kMaxRecordBytes = 4096;

Result<CheckpointInfo> read_checkpoint(const fs::path& dir) {
  const auto text = read_text_file(dir / kRecordFile, kMaxRecordBytes);
  if (!text) return base::fail(text.error());
  return parse_checkpoint(*text, (dir / kRecordFile).string());
}

uint64_t stored_bytes(const fs::path& dir, const SavedState& saved) {
  uint64_t total = 0;
  for (const std::string& name : saved.files()) {
    struct stat info{};
    if (::stat((dir / name).c_str(), &info) == 0)
      total += static_cast<uint64_t>(info.st_blocks) * 512;
  }
  return total;
}

// The name as every version of the record says it; empty: none, or it can not be known.
std::string read_name_only(const fs::path& dir) {
  const auto text = read_text_file(dir / kRecordFile, kMaxRecordBytes);
  if (!text) return {};
  const auto object = parse_json_object(*text, kMaxRecordBytes, kRecordFile);
  if (!object) return {};
  FieldErrors errors{kRecordFile, {}};
  std::string name = Fields(*object, errors).text("name", 63);
  return errors.first ? std::string() : name;
}

}  // namespace

Result<void> check_checkpoint_name_free(const Store& store, const std::string& name) {
  if (name.empty()) return {};
  const auto ids = store.checkpoint_ids();
  if (!ids) return base::fail(ids.error());
  for (const std::string& id : *ids) {
    if (read_name_only(store.checkpoint_dir(id)) != name) continue;
    return base::fail(ErrorCode::already_exists, "the name " + name + " is taken by checkpoint " +
                                                     id + ": remove it or choose another");
  }
  return {};
}

std::string encode_checkpoint(const CheckpointInfo& info) {
  const Json object = {{"schema", kCheckpointSchema},
                       {"id", info.id},
                       {"name", info.name},
                       {"vm_id", info.vm_id},
                       {"image", info.image},
                       {"created", info.created},
                       {"memory_bytes", info.memory_bytes},
                       {"vcpus", info.vcpus},
                       {"stored_bytes", info.stored_bytes}};
  return dump_json(object, "a checkpoint's record").value_or("");
}

Result<CheckpointInfo> parse_checkpoint(std::string_view text, const std::string& file) {
  const auto object = parse_json_object(text, kMaxRecordBytes, file);
  if (!object) return base::fail(object.error());
  FieldErrors errors{file, {}};
  const Fields fields(*object, errors);
  fields.schema(kCheckpointSchema);
  CheckpointInfo info;
  info.id = fields.text("id", 12);
  if (!is_vm_id(info.id)) fields.report("id", "is not 12 hex digits");
  info.name = fields.text("name", 63);
  info.vm_id = fields.text("vm_id", 12);
  info.image = fields.text("image", 256);
  info.created = fields.text("created", 32);
  info.memory_bytes = fields.number("memory_bytes", wire::kMaxMemoryBytes);
  info.vcpus = static_cast<uint32_t>(fields.number("vcpus", wire::kMaxVcpus));
  info.stored_bytes = fields.number("stored_bytes", UINT64_MAX);
  if (errors.first) return base::fail(*errors.first);
  return info;
}

Result<CheckpointInfo> commit_checkpoint(const Store& store, TempEntry entry, CheckpointInfo info,
                                         const SavedState& saved, const MayGoOn& may_go_on) {
  const auto names = lock_names(store.data_dir() / "checkpoints", may_go_on);
  if (!names) return base::fail(names.error());
  if (auto ok = check_checkpoint_name_free(store, info.name); !ok) return base::fail(ok.error());
  auto id = random_hex(6);
  if (!id) return base::fail(id.error());
  info.id = *id;
  info.stored_bytes = stored_bytes(entry.dir(), saved);
  auto ok = entry.write_file(kSavedFile, encode_saved(saved));
  if (ok) ok = entry.write_file(kRecordFile, encode_checkpoint(info));
  if (ok) ok = store.commit_checkpoint(std::move(entry), info.id);
  if (!ok) return base::fail(ok.error());
  return info;
}

Result<Listing<CheckpointInfo>> list_checkpoints(const Store& store, const MayGoOn& may_go_on) {
  const auto ids = store.checkpoint_ids();
  if (!ids) return base::fail(ids.error());
  Listing<CheckpointInfo> listing;
  for (const std::string& id : *ids) {
    if (auto ok = ask(may_go_on); !ok) return base::fail(ok.error());
    const fs::path dir = store.checkpoint_dir(id);
    auto info = read_checkpoint(dir);
    if (info) {
      listing.items.push_back(std::move(*info));
    } else if (info.error().code != ErrorCode::not_found || fs::exists(dir)) {
      listing.damaged.push_back(info.error());
    }
  }
  std::ranges::sort(listing.items, [](const CheckpointInfo& a, const CheckpointInfo& b) {
    return std::tie(a.created, a.id) < std::tie(b.created, b.id);
  });
  return listing;
}

namespace {

// Whose name only a newer library knows.
std::optional<Error> find_newer(const Listing<CheckpointInfo>& listing) {
  for (const Error& error : listing.damaged) {
    if (error.code == ErrorCode::unsupported) return error;
  }
  return std::nullopt;
}

}  // namespace

Result<Checkpoint> open_checkpoint(const Store& store, const std::string& id_or_name) {
  const auto listing = list_checkpoints(store);
  if (!listing) return base::fail(listing.error());
  std::vector<const CheckpointInfo*> matches;
  const auto match = [&](auto&& fits) {
    for (const CheckpointInfo& info : listing->items) {
      if (!id_or_name.empty() && fits(info)) matches.push_back(&info);
    }
  };
  match([&](const auto& info) { return info.id == id_or_name || info.name == id_or_name; });
  // Whole, it says which one is meant, however many ids begin like it.
  if (matches.empty()) match([&](const auto& info) { return info.id.starts_with(id_or_name); });
  // What can not be read may be the one that is meant: of its id that is known.
  if (matches.empty() && is_vm_id(id_or_name)) {
    if (auto info = read_checkpoint(store.checkpoint_dir(id_or_name));
        !info && info.error().code != ErrorCode::not_found) {
      return base::fail(info.error());
    }
  }
  if (matches.empty()) {
    const auto newer = find_newer(*listing);
    return base::fail(ErrorCode::not_found,
                      "no checkpoint " + printable(id_or_name) +
                          (newer ? "; not looked at: " + newer->message : ""));
  }
  if (matches.size() > 1) {
    return base::fail(ErrorCode::invalid_argument,
                      "checkpoint " + printable(id_or_name) + ": more than one, give the whole id");
  }
  Checkpoint checkpoint{*matches[0], {}, store.checkpoint_dir(matches[0]->id)};
  auto saved = read_saved(checkpoint.dir);
  if (!saved) return base::fail(saved.error());
  if (!*saved) {
    return base::fail(ErrorCode::corrupt, (checkpoint.dir / kSavedFile).string() + ": missing");
  }
  checkpoint.saved = std::move(**saved);
  return checkpoint;
}

Result<void> remove_checkpoint(const Store& store, const std::string& id_or_name,
                               const CallLimits& limits) {
  const CallCheck check(limits, "remove checkpoint " + printable(id_or_name));
  if (auto ok = check(); !ok) return ok;
  // One whose files are damaged can be removed by its id.
  const auto ids = store.checkpoint_ids();
  if (!ids) return base::fail(ids.error());
  if (std::ranges::count(*ids, id_or_name) != 0) return store.remove_checkpoint(id_or_name);
  const auto checkpoint = open_checkpoint(store, id_or_name);
  if (!checkpoint) return base::fail(checkpoint.error());
  return store.remove_checkpoint(checkpoint->info.id);
}

}  // namespace microvm::host
