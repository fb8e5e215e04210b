// Store: images. A version number is given once: the highest one ever removed is remembered.
#include <sys/file.h>

#include <algorithm>
#include <map>

#include "host/store/entries.hpp"
#include "host/store/names.hpp"

namespace microvm::host {

using base::fail;
using std::filesystem::path;

namespace {

constexpr const char* kLastVersionFile = ".last-version";

path name_dir(const path& data_dir, const std::string& name) {
  return data_dir / "images" / name_to_file(name);
}

std::string label(const std::string& name, uint64_t version) {
  return "image " + name + ":" + std::to_string(version);
}

// Ascending.
Result<std::vector<uint64_t>> versions_in(const path& dir) {
  const auto names = list_names(dir);
  if (!names) return fail(names.error());
  std::vector<uint64_t> versions;
  for (const auto& name : *names)
    if (const auto version = parse_version(name)) versions.push_back(*version);
  std::ranges::sort(versions);
  return versions;
}

Result<uint64_t> last_version_used(const path& dir) {
  const auto versions = versions_in(dir);
  if (!versions) return fail(versions.error());
  const uint64_t present = versions->empty() ? 0 : versions->back();
  const auto text = read_text_file(dir / kLastVersionFile, 16);
  if (!text && text.error().code == ErrorCode::not_found) return present;
  if (!text) return fail(text.error());
  const auto removed = parse_version(*text);
  if (!removed)
    return fail(ErrorCode::corrupt, (dir / kLastVersionFile).string() + ": not a version");
  return std::max(present, *removed);
}

// The entry's directory and label. Error: not_found, invalid_argument.
struct Location {
  path dir;
  std::string label;
};
Result<Location> locate(const path& data_dir, const std::string& text) {
  const auto reference = parse_image_reference(text);
  if (!reference) return fail(reference.error());
  const path dir = name_dir(data_dir, reference->name);
  uint64_t version = reference->version;
  if (version == 0) {
    const auto versions = versions_in(dir);
    if (!versions) return fail(versions.error());
    if (versions->empty())
      return fail(ErrorCode::not_found, "image " + reference->name + ": not found");
    version = versions->back();
  }
  return Location{dir / std::to_string(version), label(reference->name, version)};
}

// The manifest is copied with the files: what it calls itself must be where it stands.
Result<ImageManifest> check_place(ImageManifest manifest, const path& dir) {
  if (name_to_file(manifest.info.name) == dir.parent_path().filename() &&
      manifest.info.version == dir.filename())
    return manifest;
  return fail(ErrorCode::corrupt, (dir / kManifestFile).string() + ": is of another image");
}

Result<ImageManifest> parse_any_image(std::string_view text, const std::string& file) {
  auto manifest = parse_image_manifest(text, file);
  if (!manifest) return manifest;
  return check_place(std::move(*manifest), path(file).parent_path());
}

}  // namespace

Result<Listing<ImageManifest>> Store::images(const MayGoOn& may_go_on) const {
  const auto names = list_names(data_dir_ / "images");
  if (!names) return fail(names.error());
  Listing<ImageManifest> listing;
  for (const auto& name : *names) {
    const path dir = data_dir_ / "images" / name;
    const auto versions = versions_in(dir);
    if (!versions) return fail(versions.error());
    for (const uint64_t version : *versions) {
      if (auto ok = ask(may_go_on); !ok) return fail(ok.error());
      list_entry(dir / std::to_string(version), parse_any_image, listing);
    }
  }
  return listing;
}

Result<ImageEntry> Store::open_image(const std::string& reference) const {
  const auto location = locate(data_dir_, reference);
  if (!location) return fail(location.error());
  return open_entry(location->dir, location->label, parse_any_image);
}

Result<ImageManifest> Store::commit_image(TempEntry entry, ImageManifest manifest) const {
  if (!is_image_name(manifest.info.name))
    return fail(ErrorCode::invalid_argument, "image name \"" + manifest.info.name + "\"");
  const path dir = name_dir(data_dir_, manifest.info.name);
  if (auto made = make_dir(dir); !made) return fail(made.error());
  if (auto synced = sync_path(dir.parent_path()); !synced) return fail(synced.error());
  // The large files go to the disk before the lock is taken.
  if (auto synced = entry.sync(); !synced) return fail(synced.error());
  const auto names = lock_names(dir);
  if (!names) return fail(names.error());
  const auto last = last_version_used(dir);
  if (!last) return fail(last.error());
  manifest.info.version = std::to_string(*last + 1);
  const auto text = encode_manifest(manifest);
  if (!text) return fail(text.error());
  if (auto sealed = seal_entry(entry, *text); !sealed) return fail(sealed.error());
  if (auto synced = entry.sync(); !synced) return fail(synced.error());
  if (auto renamed = rename_new(entry.dir(), dir / manifest.info.version); !renamed)
    return fail(renamed.error());
  return manifest;
}

Result<void> Store::replace_image(ImageEntry current, TempEntry entry,
                                  const ImageManifest& manifest) const {
  const auto text = encode_manifest(manifest);
  if (!text) return fail(text.error());
  if (const auto same = check_place(manifest, current.dir); !same)
    return fail(ErrorCode::invalid_argument, "image " + manifest.info.name + ": another name");
  if (auto sealed = seal_entry(entry, *text); !sealed) return sealed;
  if (auto synced = entry.sync(); !synced) return synced;
  current.in_use.reset();
  const auto alone = lock_entry_exclusive(
      current.dir, "image " + manifest.info.name + ":" + manifest.info.version);
  if (!alone) return fail(alone.error());
  // The old files now lie in the temporary entry and go with it.
  return rename_swap(entry.dir(), current.dir);
}

path Store::image_dir(const std::string& name, const std::string& version) const {
  return name_dir(data_dir_, name) / version;
}

Result<void> Store::remove_image(const std::string& reference,
                                 const std::function<Result<void>()>& check,
                                 const MayGoOn& may_go_on) const {
  const auto location = locate(data_dir_, reference);
  if (!location) return fail(location.error());
  {
    const auto names = lock_names(location->dir.parent_path(), may_go_on);
    if (!names && names.error().code == ErrorCode::not_found)
      return fail(ErrorCode::not_found, location->label + ": not found");
    if (!names) return fail(names.error());
    const auto alone = lock_entry_exclusive(location->dir, location->label);
    if (!alone) return fail(alone.error());
    if (check) {
      if (auto ok = check(); !ok) return ok;
    }
    const auto last = last_version_used(location->dir.parent_path());
    if (!last) return fail(last.error());
    if (auto kept =
            replace_file(location->dir.parent_path() / kLastVersionFile, std::to_string(*last));
        !kept)
      return kept;
    if (auto gone = discard_entry(data_dir_, location->dir); !gone) return gone;
  }
  const auto names = lock_names(data_dir_ / "base-names");
  if (names) collect_unneeded_bases(*this);
  return {};
}

}  // namespace microvm::host
