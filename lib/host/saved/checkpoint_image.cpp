// A checkpoint becomes a version of an image.
#include <unistd.h>

#include "host/saved/checkpoints.hpp"
#include "host/saved/layer_checks.hpp"
#include "host/saved/saved_pages.hpp"
#include "host/store/file_record.hpp"
#include "host/store/files.hpp"
#include "host/store/image_files.hpp"
#include "host/store/rfc3339.hpp"
#include "host/store/sparse_copy.hpp"
#include "state/memory_file.hpp"
#include "state/overlay.hpp"

namespace microvm::host {
namespace {

Result<void> write_memory(const TempEntry& entry, const ImageFiles& image,
                          const Checkpoint& checkpoint, const CallCheck& check) {
  const uint64_t bytes = image.image.manifest.memory.size_bytes;
  const auto overlay = expand_pages(checkpoint.dir, checkpoint.saved, bytes);
  if (!overlay) return base::fail(overlay.error());
  const auto memory = entry.create_file("memory");
  if (!memory) return base::fail(memory.error());
  if (::ftruncate(memory->get(), static_cast<off_t>(bytes)) != 0) return base::fail_errno("memory");
  if (auto ok = copy_data(image.memory.get(), memory->get(), "memory", check); !ok) return ok;
  const auto runs = state::read_page_runs(overlay->get(), bytes);
  if (!runs) return base::fail(runs.error());
  RangeCopy above(overlay->get(), memory->get(), "memory", check);
  return runs->for_each_piece(0, runs->page_count(), [&](state::PageRun piece) {
    return above.copy(piece.first_page * state::kPageBytes, piece.pages * state::kPageBytes);
  });
}

// Those of the image under their names, those of the checkpoint above them.
Result<std::vector<FileRecord>> link_layers(const TempEntry& entry, const ImageFiles& image,
                                            const Checkpoint& checkpoint, const CallCheck& check) {
  std::vector<FileRecord> records = image.image.manifest.layers;
  for (const FileRecord& layer : records) {
    if (auto ok = entry.link_file(image.image.path(layer), layer.file); !ok) {
      return base::fail(ok.error());
    }
  }
  for (const std::string& name : checkpoint.saved.layers) {
    const std::string file = std::to_string(records.size()) + "-" + name;
    if (auto ok = entry.link_file(checkpoint.dir / name, file); !ok) return base::fail(ok.error());
    auto record = record_of(entry.dir(), file, check);
    if (!record) return base::fail(record.error());
    records.push_back(std::move(*record));
  }
  return records;
}

}  // namespace

Result<ImageInfo> commit_image_of(const Store& store, const Checkpoint& checkpoint,
                                  const std::string& image_name, const CallLimits& limits) {
  const CallCheck check(limits, "commit checkpoint " + checkpoint.info.id);
  const auto image = open_image_files(store, checkpoint.info.image, Limits(limits));
  if (!image) return base::fail(image.error());
  auto entry = store.new_entry();
  if (!entry) return base::fail(entry.error());
  auto ok = verify_layers(checkpoint.dir, checkpoint.saved, Limits(check.rest()));
  if (ok) ok = write_memory(*entry, *image, checkpoint, check);
  if (!ok) return base::fail(ok.error());
  const auto state = read_file(checkpoint.dir / checkpoint.saved.state, 16u << 20);
  if (!state) return base::fail(state.error());
  ok = entry->write_file("state", *state);
  if (!ok) return base::fail(ok.error());

  ImageManifest manifest = image->image.manifest;
  auto layers = link_layers(*entry, *image, checkpoint, check);
  auto memory = record_of(entry->dir(), "memory", check);
  auto state_record = record_of(entry->dir(), "state", check);
  if (!layers) return base::fail(layers.error());
  if (!memory) return base::fail(memory.error());
  if (!state_record) return base::fail(state_record.error());
  manifest.layers = std::move(*layers);
  manifest.memory = std::move(*memory);
  manifest.state = std::move(*state_record);
  manifest.working_set.reset();  // what stands there is of the image below
  manifest.info.name = image_name;
  manifest.info.created = rfc3339_now();
  manifest.info.memory_data_bytes = manifest.memory.data_bytes;
  manifest.info.disk_data_bytes = 0;
  for (const FileRecord& layer : manifest.layers) manifest.info.disk_data_bytes += layer.data_bytes;
  auto committed = store.commit_image(std::move(*entry), std::move(manifest));
  if (!committed) return base::fail(committed.error());
  return committed->info;
}

}  // namespace microvm::host
