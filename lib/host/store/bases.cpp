// Store: bases. Content lies under its digest; a name is a small file that says which digest.
#include <unistd.h>

#include <algorithm>
#include <set>

#include "host/store/digest.hpp"
#include "host/store/entries.hpp"
#include "host/store/names.hpp"

namespace microvm::host {

using base::fail;
using base::fail_errno;
using std::filesystem::path;

namespace {

path name_file(const path& data_dir, const std::string& name) {
  return data_dir / "base-names" / name_to_file(name);
}

Result<std::string> read_name(const path& file) {
  auto text = read_text_file(file, 64);
  if (text && !is_sha256_hex(*text))
    return fail(ErrorCode::corrupt, file.string() + ": not a digest");
  return text;
}

// The digest a name means, and the full name found.
Result<std::pair<std::string, std::string>> resolve(const path& data_dir, const std::string& name) {
  if (!is_base_name(name))
    return fail(ErrorCode::invalid_argument,
                "base name \"" + name + "\": not a name like debian:12");
  for (const auto& full : {name, name + ":latest"}) {
    if (!is_base_name(full)) continue;
    auto digest = read_name(name_file(data_dir, full));
    if (digest) return std::pair(*digest, full);
    if (digest.error().code != ErrorCode::not_found) return fail(digest.error());
  }
  return fail(ErrorCode::not_found, "base " + name + ": not imported");
}

// Digests that something needs: names, and images built on them.
Result<std::set<std::string>> needed_digests(const Store& store) {
  std::set<std::string> needed;
  const auto names = list_names(store.data_dir() / "base-names");
  if (!names) return fail(names.error());
  for (const auto& name : *names) {
    auto digest = read_name(store.data_dir() / "base-names" / name);
    if (!digest) return fail(digest.error());
    needed.insert(*digest);
  }
  const auto images = store.images();
  if (!images) return fail(images.error());
  // What an unreadable image needs is not known: keep everything.
  if (!images->damaged.empty()) return fail(images->damaged.front());
  for (const auto& image : images->items) needed.insert(image.base_digest);
  return needed;
}

Result<void> check_no_image_uses_base(const Store& store, const std::string& digest,
                                      const std::string& name, const MayGoOn& may_go_on) {
  const auto images = store.images(may_go_on);
  if (!images) return fail(images.error());
  if (!images->damaged.empty()) return fail(images->damaged.front());
  for (const auto& image : images->items)
    if (image.base_digest == digest)
      return fail(ErrorCode::busy, "base " + name + ": image " + image.info.name + ":" +
                                       image.info.version + " was built on it: remove that first");
  return {};
}

}  // namespace

Result<std::vector<path>> unneeded_bases(const Store& store) {
  const auto needed = needed_digests(store);
  if (!needed) return fail(needed.error());
  const auto digests = list_names(store.data_dir() / "bases");
  if (!digests) return fail(digests.error());
  std::vector<path> dirs;
  for (const auto& digest : *digests) {
    if (needed->contains(digest)) continue;
    const path dir = store.data_dir() / "bases" / digest;
    const auto manifest = read_manifest(dir, parse_base_manifest);
    // What a newer library needs it for is not known.
    if (!manifest && manifest.error().code == ErrorCode::unsupported) continue;
    dirs.push_back(dir);
  }
  return dirs;
}

void collect_unneeded_bases(const Store& store) {
  const auto unneeded = unneeded_bases(store);
  if (!unneeded) return;
  for (const path& dir : *unneeded) {
    const auto alone = lock_entry_exclusive(dir, "base " + dir.filename().string());
    if (!alone) continue;
    [[maybe_unused]] const auto gone = discard_entry(store.data_dir(), dir);
  }
}

Result<Listing<BaseManifest>> Store::bases(const MayGoOn& may_go_on) const {
  const auto names = list_names(data_dir_ / "base-names");
  if (!names) return fail(names.error());
  Listing<BaseManifest> listing;
  for (const auto& name : *names) {
    if (auto ok = ask(may_go_on); !ok) return fail(ok.error());
    const auto digest = read_name(data_dir_ / "base-names" / name);
    if (!digest) {
      listing.damaged.push_back(digest.error());
      continue;
    }
    const size_t before = listing.items.size();
    list_entry(data_dir_ / "bases" / *digest, parse_base_manifest, listing);
    if (listing.items.size() > before) listing.items.back().info.name = file_to_name(name);
  }
  return listing;
}

Result<BaseEntry> Store::open_base(const std::string& name_or_digest) const {
  if (is_sha256_hex(name_or_digest))
    return open_entry(data_dir_ / "bases" / name_or_digest, "base " + name_or_digest,
                      parse_base_manifest);
  const auto found = resolve(data_dir_, name_or_digest);
  if (!found && found.error().code == ErrorCode::not_found)
    return fail(ErrorCode::not_found,
                found.error().message + "; make one with `base import " + name_or_digest + " TAR`");
  if (!found) return fail(found.error());
  auto entry =
      open_entry(data_dir_ / "bases" / found->first, "base " + found->second, parse_base_manifest);
  if (entry) entry->manifest.info.name = found->second;
  return entry;
}

Result<BaseManifest> Store::commit_base(TempEntry entry, const BaseManifest& manifest) const {
  const auto text = encode_manifest(manifest);
  if (!text) return fail(text.error());
  if (auto sealed = seal_entry(entry, *text); !sealed) return fail(sealed.error());
  if (auto synced = entry.sync(); !synced) return fail(synced.error());
  const auto names = lock_names(data_dir_ / "base-names");
  if (!names) return fail(names.error());
  const auto renamed = rename_new(entry.dir(), data_dir_ / "bases" / manifest.info.digest);
  if (!renamed && renamed.error().code != ErrorCode::already_exists) return fail(renamed.error());
  if (auto named = replace_file(name_file(data_dir_, manifest.info.name), manifest.info.digest);
      !named)
    return fail(named.error());
  collect_unneeded_bases(*this);
  return manifest;
}

Result<void> Store::remove_base(const std::string& name, const MayGoOn& may_go_on) const {
  const auto names = lock_names(data_dir_ / "base-names", may_go_on);
  if (!names) return fail(names.error());
  const auto found = resolve(data_dir_, name);
  if (!found) return fail(found.error());
  if (auto unused = check_no_image_uses_base(*this, found->first, found->second, may_go_on);
      !unused)
    return unused;
  {
    // Only a question: nobody may have the content open.
    const auto alone =
        lock_entry_exclusive(data_dir_ / "bases" / found->first, "base " + found->second);
    if (!alone && alone.error().code == ErrorCode::busy) return fail(alone.error());
  }
  const path file = name_file(data_dir_, found->second);
  if (::unlink(file.c_str()) != 0) return fail_errno("remove " + file.string());
  collect_unneeded_bases(*this);
  return sync_path(file.parent_path());
}

}  // namespace microvm::host
