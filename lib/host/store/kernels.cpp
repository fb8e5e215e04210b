// Store: kernels.
#include <algorithm>
#include <cstdio>

#include "host/store/digest.hpp"
#include "host/store/entries.hpp"
#include "host/store/files.hpp"

namespace microvm::host {

using base::fail;
using std::filesystem::path;

namespace {

// An older library may have kept fewer.
bool has_no_others(const KernelManifest& kernel, const KernelManifest& than) {
  return std::ranges::all_of(kernel.modules, [&](const FileRecord& module) {
    return std::ranges::find(than.modules, module.sha256, &FileRecord::sha256) !=
           than.modules.end();
  });
}

// Two who do so at once bring the same bytes.
Result<bool> adopt_modules_disk(const TempEntry& from, const path& dir,
                                const KernelManifest& manifest, KernelManifest& existing) {
  if (!manifest.modules_disk || existing.modules_disk) return false;
  const std::string& name = manifest.modules_disk->file;
  if (::rename((from.dir() / name).c_str(), (dir / name).c_str()) != 0)
    return base::fail_errno("move " + name + " to " + dir.string());
  if (auto synced = sync_path(dir); !synced) return fail(synced.error());
  existing.modules_disk = manifest.modules_disk;
  return true;
}

// What an older library did not say of a kernel, or did not keep, is added to its entry.
Result<KernelManifest> already_imported(const TempEntry& entry, const path& dir,
                                        const KernelManifest& manifest) {
  auto existing = read_manifest(dir, parse_kernel_manifest);
  if (!existing) return existing;
  if (!has_no_others(*existing, manifest)) {
    return fail(ErrorCode::already_exists,
                "kernel " + manifest.info.name +
                    ": imported before with other modules; remove that one first");
  }
  const bool same = has_no_others(manifest, *existing);
  const bool more_said = manifest.virtio_pci && !existing->virtio_pci && same;
  existing->virtio_pci = existing->virtio_pci || more_said;
  const auto adopted = adopt_modules_disk(entry, dir, manifest, *existing);
  if (!adopted) return fail(adopted.error());
  if (!more_said && !*adopted) return existing;
  const auto text = encode_manifest(*existing);
  if (!text) return fail(text.error());
  if (auto ok = replace_file(dir / kManifestFile, *text); !ok) return fail(ok.error());
  return existing;
}

Result<void> check_no_image_uses_kernel(const Store& store, const KernelManifest& kernel,
                                        const MayGoOn& may_go_on) {
  const auto images = store.images(may_go_on);
  if (!images) return fail(images.error());
  if (!images->damaged.empty()) return fail(images->damaged.front());
  for (const auto& image : images->items)
    if (image.kernel_digest == kernel.info.digest)
      return fail(ErrorCode::busy, "kernel " + kernel.info.name + ": image " + image.info.name +
                                       ":" + image.info.version +
                                       " was built with it: remove that first");
  return {};
}

}  // namespace

Result<Listing<KernelManifest>> Store::kernels(const MayGoOn& may_go_on) const {
  const auto digests = list_names(data_dir_ / "kernels");
  if (!digests) return fail(digests.error());
  Listing<KernelManifest> listing;
  for (const auto& digest : *digests) {
    if (auto ok = ask(may_go_on); !ok) return fail(ok.error());
    if (is_sha256_hex(digest))
      list_entry(data_dir_ / "kernels" / digest, parse_kernel_manifest, listing);
  }
  std::ranges::sort(listing.items, std::ranges::greater(), &KernelManifest::imported_ms);
  return listing;
}

Result<KernelEntry> Store::open_kernel(const std::string& name_or_digest) const {
  const auto open = [this](const std::string& digest, const std::string& name) {
    return open_entry(kernel_dir(digest), "kernel " + name, parse_kernel_manifest);
  };
  if (is_sha256_hex(name_or_digest)) return open(name_or_digest, name_or_digest);
  const auto listing = kernels();
  if (!listing) return fail(listing.error());
  for (const auto& kernel : listing->items)
    if (name_or_digest.empty() || kernel.info.name == name_or_digest)
      return open(kernel.info.digest, kernel.info.name);
  if (!listing->damaged.empty()) return fail(listing->damaged.front());
  if (name_or_digest.empty())
    return fail(ErrorCode::not_found, "no kernel is imported: import a linux-image .deb first");
  return fail(ErrorCode::not_found, "kernel " + name_or_digest + ": not imported");
}

path Store::kernel_dir(const std::string& digest) const {
  return data_dir_ / "kernels" / digest;
}

Result<KernelManifest> Store::commit_kernel(TempEntry entry, const KernelManifest& manifest) const {
  const path dir = kernel_dir(manifest.info.digest);
  const auto text = encode_manifest(manifest);
  if (!text) return fail(text.error());
  if (auto sealed = seal_entry(entry, *text); !sealed) return fail(sealed.error());
  if (auto synced = entry.sync(); !synced) return fail(synced.error());
  const auto renamed = rename_new(entry.dir(), dir);
  if (renamed) return manifest;
  if (renamed.error().code != ErrorCode::already_exists) return fail(renamed.error());
  return already_imported(entry, dir, manifest);
}

Result<void> Store::remove_kernel(const std::string& name_or_digest,
                                  const MayGoOn& may_go_on) const {
  if (name_or_digest.empty()) return fail(ErrorCode::invalid_argument, "remove a kernel: no name");
  path dir;
  KernelManifest kernel;
  {
    const auto entry = open_kernel(name_or_digest);
    if (!entry) return fail(entry.error());
    dir = entry->dir;
    kernel = entry->manifest;
  }
  const auto alone = lock_entry_exclusive(dir, "kernel " + kernel.info.name);
  if (!alone) return fail(alone.error());
  // Who builds an image holds the kernel open until the image is there: nothing comes in between.
  if (auto unused = check_no_image_uses_kernel(*this, kernel, may_go_on); !unused) return unused;
  return discard_entry(data_dir_, dir);
}

}  // namespace microvm::host
