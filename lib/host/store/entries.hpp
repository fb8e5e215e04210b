// What the three kinds of entries have in common: how one is opened, listed, added, taken away.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "host/store/entry_lock.hpp"
#include "host/store/files.hpp"
#include "host/store/store.hpp"

namespace microvm::host {

template <class Manifest>
using ManifestParser = Result<Manifest> (*)(std::string_view text, const std::string& file);

template <class Manifest>
[[nodiscard]] Result<Manifest> read_manifest(const std::filesystem::path& dir,
                                             ManifestParser<Manifest> parser) {
  const auto file = dir / kManifestFile;
  const auto text = read_text_file(file, kMaxManifestBytes);
  if (!text) return base::fail(text.error());
  return parser(*text, file.string());
}

template <class Manifest>
[[nodiscard]] Result<Entry<Manifest>> open_entry(const std::filesystem::path& dir,
                                                 const std::string& what,
                                                 ManifestParser<Manifest> parser) {
  auto in_use = lock_entry_shared(dir, what);
  if (!in_use) return base::fail(in_use.error());
  auto manifest = read_manifest(dir, parser);
  if (!manifest) return base::fail(manifest.error());
  return Entry<Manifest>{std::move(*manifest), dir, std::move(*in_use)};
}

// Adds the entry under `dir` to the listing. One that just went away is no damage.
template <class Manifest>
void list_entry(const std::filesystem::path& dir, ManifestParser<Manifest> parser,
                Listing<Manifest>& listing) {
  auto manifest = read_manifest(dir, parser);
  if (manifest) {
    listing.items.push_back(std::move(*manifest));
  } else if (manifest.error().code != ErrorCode::not_found ||
             std::filesystem::exists(dir / kInUseFile)) {
    listing.damaged.push_back(manifest.error());
  }
}

// Puts manifest.json and the in-use file into an entry that is being written.
[[nodiscard]] Result<void> seal_entry(const TempEntry& entry, std::string_view manifest);

// Out of sight by one rename, then deleted.
[[nodiscard]] Result<void> discard_entry(const std::filesystem::path& data_dir,
                                         const std::filesystem::path& dir);

// The directories of base content that no name means and no image needs. Error: corrupt, when that
// is not known.
[[nodiscard]] Result<std::vector<std::filesystem::path>> unneeded_bases(const Store& store);
// Removes base content whose last name moved on and that no image needs. What is in use or cannot
// be removed now stays until the next call. The caller holds the lock of base-names/.
void collect_unneeded_bases(const Store& store);

// Names that begin with a dot are the store's own.
[[nodiscard]] Result<std::vector<std::string>> list_names(const std::filesystem::path& dir);

}  // namespace microvm::host
