// The data directory: kernels, bases, images, vms, and entries being written.
//   kernels/<digest>/        vmlinux, NN-name.ko, manifest.json, in-use
//   bases/<digest>/          disk.ext4, manifest.json, in-use
//   base-names/<name>        the digest a base name means now
//   images/<name>/<version>/ layers, memory, state, manifest.json, in-use; ('/' in a name is '%')
//   vms/<id>/                one microVM's files
//   checkpoints/<id>/        one checkpoint (host/vm/checkpoints.hpp)
//   tmp/                     entries being written or removed
// An entry is whole or not there. Everything but vms/ is immutable once visible. Several processes
// may use one directory; every method may be called from any thread. `may_go_on` is asked between
// entries and while somebody else names one; what it says then is the error.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "host/base/limits.hpp"
#include "host/store/manifest.hpp"
#include "host/store/temp_entry.hpp"

namespace microvm::host {

// An entry kept from being removed: `in_use` holds a shared flock on a file in its directory. The
// lock lives as long as any duplicate of that fd does, in whatever process (workers inherit it).
template <class Manifest>
struct Entry {
  Manifest manifest;
  std::filesystem::path dir;
  base::Fd in_use;

  [[nodiscard]] std::filesystem::path path(const FileRecord& record) const {
    return dir / record.file;
  }
};
using KernelEntry = Entry<KernelManifest>;
using BaseEntry = Entry<BaseManifest>;
using ImageEntry = Entry<ImageManifest>;

// One damaged entry does not hide the others.
template <class Manifest>
struct Listing {
  std::vector<Manifest> items;
  std::vector<Error> damaged;
};

class Store {
 public:
  // Creates what is missing (mode 0700) and collects the leftovers of dead processes.
  [[nodiscard]] static Result<Store> open(const std::filesystem::path& data_dir);

  [[nodiscard]] const std::filesystem::path& data_dir() const noexcept { return data_dir_; }

  [[nodiscard]] Result<TempEntry> new_entry() const;
  // What processes that are gone were writing or removing; to be removed by whoever finds it.
  [[nodiscard]] Result<std::vector<std::filesystem::path>> leftovers() const;

  // Kernels, newest import first. open_kernel: a name or a digest; empty: the newest import.
  [[nodiscard]] Result<Listing<KernelManifest>> kernels(const MayGoOn& may_go_on = {}) const;
  [[nodiscard]] Result<KernelEntry> open_kernel(const std::string& name_or_digest) const;
  // Adds it, or drops `entry` and returns what is there when the kernel is already imported.
  [[nodiscard]] Result<KernelManifest> commit_kernel(TempEntry entry,
                                                     const KernelManifest& manifest) const;
  [[nodiscard]] std::filesystem::path kernel_dir(const std::string& digest) const;
  // busy while an image names it or somebody has it open; corrupt when that is not known.
  [[nodiscard]] Result<void> remove_kernel(const std::string& name_or_digest,
                                           const MayGoOn& may_go_on = {}) const;

  // Bases, by name. open_base: a name ("debian" also finds "debian:latest") or a digest.
  [[nodiscard]] Result<Listing<BaseManifest>> bases(const MayGoOn& may_go_on = {}) const;
  [[nodiscard]] Result<BaseEntry> open_base(const std::string& name_or_digest) const;
  // Adds the content unless it is there, then makes manifest.info.name mean it.
  [[nodiscard]] Result<BaseManifest> commit_base(TempEntry entry,
                                                 const BaseManifest& manifest) const;
  // Forgets the name; removes the content when no other name or image needs it. busy when it does
  // not go because somebody has it open or an image was built on it.
  [[nodiscard]] Result<void> remove_base(const std::string& name,
                                         const MayGoOn& may_go_on = {}) const;

  // Images by name, then version. open_image: "name" (newest) or "name:version".
  [[nodiscard]] Result<Listing<ImageManifest>> images(const MayGoOn& may_go_on = {}) const;
  [[nodiscard]] Result<ImageEntry> open_image(const std::string& reference) const;
  // Assigns the next version of manifest.info.name (a number is never used twice) and returns the
  // manifest as stored. The caller holds the kernel and the base open until this returned.
  [[nodiscard]] Result<ImageManifest> commit_image(TempEntry entry, ImageManifest manifest) const;
  // Swaps the files of an existing version (pack, unpack). busy while somebody else has it open.
  [[nodiscard]] Result<void> replace_image(ImageEntry current, TempEntry entry,
                                           const ImageManifest& manifest) const;
  // busy while somebody has it open (a Vm runs from it). `check` is asked once nobody can open it
  // any more and no version of the name is added or removed; its error is returned.
  [[nodiscard]] Result<void> remove_image(const std::string& reference,
                                          const std::function<Result<void>()>& check = {},
                                          const MayGoOn& may_go_on = {}) const;
  [[nodiscard]] std::filesystem::path image_dir(const std::string& name,
                                                const std::string& version) const;

  // vms/<id>: made empty (already_exists when the id is taken), listed, removed with its content.
  [[nodiscard]] std::filesystem::path vm_dir(const std::string& id) const;
  [[nodiscard]] Result<std::filesystem::path> create_vm_dir(const std::string& id) const;
  [[nodiscard]] Result<std::vector<std::string>> vm_ids() const;
  [[nodiscard]] Result<void> remove_vm_dir(const std::string& id) const;

  // checkpoints/<id>: whole or not there.
  [[nodiscard]] std::filesystem::path checkpoint_dir(const std::string& id) const;
  [[nodiscard]] Result<std::vector<std::string>> checkpoint_ids() const;
  [[nodiscard]] Result<void> commit_checkpoint(TempEntry entry, const std::string& id) const;
  [[nodiscard]] Result<void> remove_checkpoint(const std::string& id) const;

 private:
  explicit Store(std::filesystem::path data_dir) : data_dir_(std::move(data_dir)) {}

  std::filesystem::path data_dir_;
};

}  // namespace microvm::host
