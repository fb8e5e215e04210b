#include "host/store/store.hpp"

#include <sys/stat.h>

#include "host/store/entries.hpp"
#include "host/store/files.hpp"
#include "host/store/names.hpp"

namespace microvm::host {

using base::fail;
using base::fail_errno;
using std::filesystem::path;

Result<Store> Store::open(const path& data_dir) {
  if (data_dir.empty()) return fail(ErrorCode::invalid_argument, "data directory: no path given");
  std::error_code error;
  const path absolute = std::filesystem::absolute(data_dir, error);
  if (!error) std::filesystem::create_directories(absolute.parent_path(), error);
  if (error) return fail_errno("create " + data_dir.string(), error.value());
  if (auto made = make_dir(absolute); !made) return fail(made.error());
  for (const char* name : {"kernels", "bases", "base-names", "images", "vms", "checkpoints", "tmp"})
    if (auto made = make_dir(absolute / name); !made) return fail(made.error());
  Store store(absolute);
  const auto leftovers = store.leftovers();
  if (!leftovers) return fail(leftovers.error());
  for (const path& leftover : *leftovers) remove_tree(leftover);
  return store;
}

Result<std::vector<path>> Store::leftovers() const {
  return TempEntry::leftovers(data_dir_ / "tmp");
}

Result<TempEntry> Store::new_entry() const {
  return TempEntry::create(data_dir_ / "tmp");
}

path Store::vm_dir(const std::string& id) const {
  return data_dir_ / "vms" / id;
}

Result<path> Store::create_vm_dir(const std::string& id) const {
  if (!is_vm_id(id)) return fail(ErrorCode::invalid_argument, "vm id \"" + id + "\": not an id");
  path dir = vm_dir(id);
  if (::mkdir(dir.c_str(), 0700) != 0) return fail_errno("create " + dir.string());
  return dir;
}

Result<std::vector<std::string>> Store::vm_ids() const {
  auto names = list_dir(data_dir_ / "vms");
  if (names) std::erase_if(*names, [](const std::string& name) { return !is_vm_id(name); });
  return names;
}

Result<void> Store::remove_vm_dir(const std::string& id) const {
  if (!is_vm_id(id)) return fail(ErrorCode::not_found, "vm " + id + ": not found");
  return discard_entry(data_dir_, vm_dir(id));
}

path Store::checkpoint_dir(const std::string& id) const {
  return data_dir_ / "checkpoints" / id;
}

Result<std::vector<std::string>> Store::checkpoint_ids() const {
  auto names = list_dir(data_dir_ / "checkpoints");
  if (names) std::erase_if(*names, [](const std::string& name) { return !is_vm_id(name); });
  return names;
}

Result<void> Store::commit_checkpoint(TempEntry entry, const std::string& id) const {
  if (auto synced = entry.sync(); !synced) return synced;
  return rename_new(entry.dir(), checkpoint_dir(id));
}

Result<void> Store::remove_checkpoint(const std::string& id) const {
  if (!is_vm_id(id)) return fail(ErrorCode::not_found, "checkpoint " + id + ": not found");
  return discard_entry(data_dir_, checkpoint_dir(id));
}

}  // namespace microvm::host
