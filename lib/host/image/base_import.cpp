#include "host/image/base_import.hpp"

#include <chrono>

#include "host/image/ext4_writer.hpp"
#include "host/image/tar_tree.hpp"
#include "host/store/digest.hpp"
#include "host/store/files.hpp"
#include "host/store/names.hpp"

namespace microvm::host {

using base::fail;

namespace {

constexpr const char* kDiskFile = "disk.ext4";

int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Result<void> write_disk(const std::filesystem::path& file, const BaseImportOptions& options,
                        const CallCheck& check) {
  auto disk = Ext4Writer::create(file, options.disk_bytes);
  if (!disk) return fail(disk.error());
  FileTree tree((*disk)->max_nodes());
  if (auto read =
          read_tar(options.tar, tree, **disk, "import " + options.name, options.progress, check);
      !read)
    return read;
  return (*disk)->finish(tree, check);
}

}  // namespace

Result<BaseInfo> import_base(const Store& store, const BaseImportOptions& options,
                             const CallLimits& limits) {
  if (!is_base_name(options.name))
    return fail(ErrorCode::invalid_argument,
                "base name \"" + options.name + "\": not a name like debian:12");
  const CallCheck check(limits, "import base " + options.name);
  auto entry = store.new_entry();
  if (!entry) return fail(entry.error());
  const auto disk = entry->create_file(kDiskFile);
  if (!disk) return fail(disk.error());
  const auto file = entry->dir() / kDiskFile;
  if (auto written = write_disk(file, options, check); !written) return fail(written.error());
  const auto digest = digest_sparse_file(disk->get(), file.string(), check);
  if (!digest) return fail(digest.error());
  const BaseManifest manifest{{options.name, digest->sha256, digest->size_bytes},
                              now_ms(),
                              {kDiskFile, digest->size_bytes, digest->data_bytes, digest->sha256}};
  const auto stored = store.commit_base(std::move(*entry), manifest);
  if (!stored) return fail(stored.error());
  return stored->info;
}

}  // namespace microvm::host
