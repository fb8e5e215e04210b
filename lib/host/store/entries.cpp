#include "host/store/entries.hpp"

namespace microvm::host {

using std::filesystem::path;

Result<void> seal_entry(const TempEntry& entry, std::string_view manifest) {
  if (auto written = entry.write_file(kManifestFile, manifest); !written) return written;
  return entry.write_file(kInUseFile, std::string_view());
}

Result<void> discard_entry(const path& data_dir, const path& dir) {
  const path grave = data_dir / "tmp" / random_name();
  if (auto moved = rename_new(dir, grave); !moved) return moved;
  remove_tree(grave);
  return {};
}

Result<std::vector<std::string>> list_names(const path& dir) {
  auto names = list_dir(dir);
  // replace_file() writes beside its target, with a '~' in the name.
  if (names)
    std::erase_if(*names, [](const std::string& name) {
      return name.starts_with('.') || name.find('~') != std::string::npos;
    });
  return names;
}

}  // namespace microvm::host
