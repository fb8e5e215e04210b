#include "host/prune.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "host/saved/checkpoints.hpp"
#include "host/saved/vm_directory.hpp"
#include "host/store/disk_use.hpp"
#include "host/store/entries.hpp"
#include "host/store/names.hpp"

namespace microvm {

const char* pruned_kind_name(PrunedItem::Kind kind) noexcept {
  switch (kind) {
    case PrunedItem::Kind::vm:
      return "vm";
    case PrunedItem::Kind::file:
      return "file";
    case PrunedItem::Kind::leftover:
      return "leftover";
    case PrunedItem::Kind::image:
      return "image";
    case PrunedItem::Kind::base:
      return "base";
    case PrunedItem::Kind::kernel:
      return "kernel";
  }
  return "unknown";
}

}  // namespace microvm

namespace microvm::host {
namespace {

namespace fs = std::filesystem;
using Kind = PrunedItem::Kind;

std::string version_of(const ImageManifest& image) {
  return image.info.name + ":" + image.info.version;
}

// Content, names and links all move the ctime.
bool is_older(const fs::path& path, std::chrono::seconds age) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) return false;
  const std::chrono::seconds changed(info.st_ctim.tv_sec);
  return std::chrono::system_clock::now().time_since_epoch() >= changed + age;
}

// Numbered files, and what a write was cut short before it could give its real name.
bool is_for_records(const std::string& name) {
  return is_numbered_file(VmFileKind::layer, name) || is_numbered_file(VmFileKind::pages, name) ||
         is_numbered_file(VmFileKind::state, name) || name.find('~') != std::string::npos ||
         name.ends_with(".new");
}

class Pruner {
 public:
  Pruner(const Store& store, const PruneOptions& options, std::chrono::seconds orphan_age,
         const MayGoOn& may_go_on)
      : store_(store), options_(options), orphan_age_(orphan_age), may_go_on_(may_go_on) {}

  Result<PruneReport> run();

 private:
  using Remove = std::function<Result<void>()>;
  void free(Kind kind, const std::string& name, const fs::path& path, const Remove& remove);
  void orphan_files(const std::string& id, const fs::path& dir);
  void vm(const std::string& id);
  Result<void> vms();
  Result<void> leftovers();
  Result<void> images();
  void superseded_image(const ImageManifest& image, const fs::path& newest);
  void nameless_bases();
  Result<void> bases_and_kernels();
  [[nodiscard]] bool in_use(const fs::path& dir) const;
  // Of the images that are left. Error: one that can not be read, whose needs are not known.
  [[nodiscard]] Result<std::set<std::string>> digests_in_use() const;

  const Store& store_;
  const PruneOptions options_;
  const std::chrono::seconds orphan_age_;
  const MayGoOn& may_go_on_;
  FreedBytes meter_;
  std::set<std::string> freed_images_;
  PruneReport report_;
};

Result<PruneReport> Pruner::run() {
  auto ok = leftovers();
  if (ok) ok = vms();
  if (ok && options_.images) ok = images();
  if (!ok) return base::fail(ok.error());
  nameless_bases();
  if (options_.bases_and_kernels) ok = bases_and_kernels();
  if (!ok) return base::fail(ok.error());
  return std::move(report_);
}

void Pruner::free(Kind kind, const std::string& name, const fs::path& path, const Remove& remove) {
  const uint64_t bytes = meter_.of(path);
  if (!options_.dry_run && !remove()) return;
  report_.items.push_back({kind, name, bytes});
  report_.bytes += bytes;
}

Result<void> Pruner::leftovers() {
  const auto found = store_.leftovers();
  if (!found) return base::fail(found.error());
  for (const fs::path& leftover : *found) {
    if (auto ok = ask(may_go_on_); !ok) return ok;
    free(Kind::leftover, leftover.filename().string(), leftover, [&]() -> Result<void> {
      remove_tree(leftover);
      return {};
    });
  }
  return {};
}

Result<void> Pruner::vms() {
  const auto ids = store_.vm_ids();
  if (!ids) return base::fail(ids.error());
  for (const std::string& id : *ids) {
    if (auto ok = ask(may_go_on_); !ok) return ok;
    vm(id);
  }
  // Of one that can not be read it is not known what belongs to it.
  const auto checkpoints = list_checkpoints(store_, may_go_on_);
  if (!checkpoints) return base::fail(checkpoints.error());
  for (const CheckpointInfo& checkpoint : checkpoints->items) {
    if (auto ok = ask(may_go_on_); !ok) return ok;
    orphan_files(checkpoint.id, store_.checkpoint_dir(checkpoint.id));
  }
  return {};
}

// Whoever runs, owns or resumes it holds the lock that is taken here.
void Pruner::vm(const std::string& id) {
  const fs::path dir = store_.vm_dir(id);
  const auto unheld = take_unheld(dir);
  if (!unheld) return;
  if (is_unreadable_sleeper(*unheld, dir)) return;
  const auto& record = unheld->record;
  if (record && !record->dies_with_owner && find_phase(dir, true) != VmPhase::ended) {
    if (unheld->lock && !check_exit_known(unheld->lock.get())) return;
    return orphan_files(id, dir);
  }
  free(Kind::vm, id, dir, [&] { return remove_vm(store_, id); });
}

void Pruner::orphan_files(const std::string& id, const fs::path& dir) {
  const auto saved = read_saved(dir);
  if (!saved || !*saved) return;
  const auto kept = (*saved)->files();
  const auto names = list_dir(dir);
  if (!names) return;
  for (const std::string& name : *names) {
    if (!is_for_records(name) || std::ranges::count(kept, name) != 0) continue;
    if (!is_older(dir / name, orphan_age_)) continue;
    free(Kind::file, id + "/" + name, dir / name, [&]() -> Result<void> {
      std::error_code ec;
      if (fs::remove(dir / name, ec)) return {};
      return base::fail_errno("remove " + (dir / name).string(), ec.value());
    });
  }
}

bool Pruner::in_use(const fs::path& dir) const {
  return !lock_entry_exclusive(dir, dir.filename().string());
}

Result<void> Pruner::images() {
  const auto listing = store_.images();  // by name, then version
  if (!listing) return base::fail(listing.error());
  std::map<std::string, const ImageManifest*> newest;
  for (const ImageManifest& image : listing->items) newest[image.info.name] = &image;
  for (const ImageManifest& image : listing->items) {
    const ImageManifest& last = *newest[image.info.name];
    if (last.info.version == image.info.version) continue;
    if (auto ok = ask(may_go_on_); !ok) return ok;
    superseded_image(image, store_.image_dir(last.info.name, last.info.version));
  }
  return {};
}

// Nobody opens the image while its lock is held, so that what is asked then stays true.
void Pruner::superseded_image(const ImageManifest& image, const fs::path& newest) {
  const std::string version = version_of(image);
  const auto still_unneeded = [&]() -> Result<void> {
    if (!fs::exists(newest / kManifestFile)) {
      return base::fail(ErrorCode::busy, "image " + version + ": is the newest now");
    }
    return check_image_unused(store_, version);
  };
  const fs::path dir = store_.image_dir(image.info.name, image.info.version);
  if (in_use(dir) || !still_unneeded()) return;
  const size_t before = report_.items.size();
  free(Kind::image, version, dir, [&] { return store_.remove_image(version, still_unneeded); });
  if (report_.items.size() > before) freed_images_.insert(version);
}

void Pruner::nameless_bases() {
  const auto names = lock_names(store_.data_dir() / "base-names", may_go_on_);
  const auto unneeded = unneeded_bases(store_);
  if (!names || !unneeded) return;
  for (const fs::path& dir : *unneeded) {
    const auto alone = lock_entry_exclusive(dir, dir.filename().string());
    if (!alone) continue;
    free(Kind::base, dir.filename().string(), dir,
         [&] { return discard_entry(store_.data_dir(), dir); });
  }
}

Result<std::set<std::string>> Pruner::digests_in_use() const {
  const auto images = store_.images();
  if (!images) return base::fail(images.error());
  if (!images->damaged.empty()) return base::fail(images->damaged.front());
  std::set<std::string> digests;
  for (const ImageManifest& image : images->items) {
    if (freed_images_.contains(version_of(image))) continue;
    digests.insert(image.base_digest);
    digests.insert(image.kernel_digest);
  }
  return digests;
}

Result<void> Pruner::bases_and_kernels() {
  const auto needed = digests_in_use();
  if (!needed) return base::fail(needed.error());
  const auto bases = store_.bases();
  if (!bases) return base::fail(bases.error());
  for (const BaseManifest& base : bases->items) {
    const fs::path dir = store_.data_dir() / "bases" / base.info.digest;
    if (auto ok = ask(may_go_on_); !ok) return ok;
    if (needed->contains(base.info.digest) || in_use(dir)) continue;
    free(Kind::base, base.info.name, dir, [&] { return store_.remove_base(base.info.name); });
  }
  const auto kernels = store_.kernels();
  if (!kernels) return base::fail(kernels.error());
  for (const KernelManifest& kernel : kernels->items) {
    const fs::path dir = store_.data_dir() / "kernels" / kernel.info.digest;
    if (auto ok = ask(may_go_on_); !ok) return ok;
    if (needed->contains(kernel.info.digest) || in_use(dir)) continue;
    free(Kind::kernel, kernel.info.name, dir,
         [&] { return store_.remove_kernel(kernel.info.digest); });
  }
  return {};
}

}  // namespace

Result<PruneReport> prune(const Store& store, const PruneOptions& options,
                          std::chrono::seconds orphan_age, const MayGoOn& may_go_on) {
  if (auto ok = ask(may_go_on); !ok) return base::fail(ok.error());
  return Pruner(store, options, orphan_age, may_go_on).run();
}

Result<void> check_image_unused(const Store& store, const std::string& version) {
  const auto ids = store.vm_ids();
  if (!ids) return base::fail(ids.error());
  for (const std::string& id : *ids) {
    // One without a record is being launched, and holds the image's lock.
    const auto vm = describe_vm(store, id);
    if (!vm || vm->state == VmState::terminated) continue;
    if (vm->image.empty()) {
      return base::fail(ErrorCode::busy, "image " + version + ": microvm " + id +
                                             " may need it: " + vm->state_reason);
    }
    if (vm->image != version) continue;
    return base::fail(ErrorCode::busy, "image " + version + ": microvm " + id + " is " +
                                           vm_state_name(vm->state) + " on it: remove that first");
  }
  const auto checkpoints = list_checkpoints(store);
  if (!checkpoints) return base::fail(checkpoints.error());
  for (const CheckpointInfo& checkpoint : checkpoints->items) {
    if (checkpoint.image != version) continue;
    return base::fail(ErrorCode::busy, "image " + version + ": checkpoint " + checkpoint.id +
                                           " needs it: remove that first");
  }
  if (checkpoints->damaged.empty()) return {};
  return base::fail(ErrorCode::busy, "image " + version + ": a checkpoint may need it: " +
                                         checkpoints->damaged.front().message);
}

}  // namespace microvm::host
