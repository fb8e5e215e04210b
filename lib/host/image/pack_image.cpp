#include "host/image/pack_image.hpp"

#include <fcntl.h>

#include <thread>

#include "host/store/digest.hpp"
#include "host/store/file_record.hpp"
#include "host/store/files.hpp"
#include "state/frames.hpp"

namespace microvm::host {
namespace {

constexpr const char* kRawMemory = "memory";
constexpr const char* kPackedMemory = "memory.zst";

void report(const ProgressSink& progress, const std::string& step) {
  if (progress) progress({.step = step, .done = 0, .total = 0, .output = {}});
}

std::string label(const ImageManifest& manifest) {
  return manifest.info.name + ":" + manifest.info.version;
}

// Everything but the memory is the same in both forms.
Result<void> link_rest(const ImageEntry& image, const TempEntry& entry) {
  if (auto ok = entry.link_file(image.path(image.manifest.state), image.manifest.state.file); !ok) {
    return ok;
  }
  std::vector<FileRecord> rest = image.manifest.layers;
  if (image.manifest.working_set) rest.push_back(*image.manifest.working_set);
  for (const FileRecord& layer : rest) {
    if (auto ok = entry.link_file(image.path(layer), layer.file); !ok) return ok;
  }
  return {};
}

using Converter = Result<void> (*)(int from, int to, const CallCheck& check);

Result<void> pack(int from, int to, const CallCheck& check) {
  state::PackOptions options;
  options.threads = std::max(1u, std::thread::hardware_concurrency());
  const MayGoOn may_go_on = check;
  options.may_go_on = &may_go_on;
  const auto packed = state::pack_memory(from, to, options);
  if (!packed) return base::fail(packed.error());
  return {};
}

Result<void> unpack(int from, int to, const CallCheck& check) {
  const auto size =
      state::unpack_memory(from, to, std::max(1u, std::thread::hardware_concurrency()), check);
  if (!size) return base::fail(size.error());
  return {};
}

// A damaged file is found before it becomes the only one there is.
Result<void> check_digest(const ImageEntry& image, int memory, const CallCheck& check) {
  const FileRecord& record = image.manifest.memory;
  if (record.sha256.empty()) return {};
  const std::string name = image.path(record).string();
  const auto digest = digest_sparse_file(memory, name, check);
  if (!digest) return base::fail(digest.error());
  if (digest->sha256 == record.sha256) return {};
  return base::fail(ErrorCode::corrupt, name + ": its content has changed since it was written");
}

Result<ImageInfo> convert(const Store& store, ImageEntry image, ImageForm form,
                          const char* memory_file, Converter converter, const CallCheck& check) {
  if (auto ok = check(); !ok) return base::fail(ok.error());
  const base::Fd from(::open(image.path(image.manifest.memory).c_str(), O_RDONLY | O_CLOEXEC));
  if (!from) return base::fail_errno("open " + image.path(image.manifest.memory).string());
  if (auto ok = check_digest(image, from.get(), check); !ok) return base::fail(ok.error());
  auto entry = store.new_entry();
  if (!entry) return base::fail(entry.error());
  const auto to = entry->create_file(memory_file);
  if (!to) return base::fail(to.error());
  if (auto ok = converter(from.get(), to->get(), check); !ok) return base::fail(ok.error());
  if (auto ok = link_rest(image, *entry); !ok) return base::fail(ok.error());
  auto record = record_of(entry->dir(), memory_file, check);
  if (!record) return base::fail(record.error());
  ImageManifest manifest = image.manifest;
  manifest.form = form;
  if (form == ImageForm::packed) manifest.memory_raw_bytes = image.manifest.memory.size_bytes;
  manifest.memory = std::move(*record);
  auto replaced = store.replace_image(std::move(image), std::move(*entry), manifest);
  if (!replaced) return base::fail(replaced.error());
  return manifest.info;
}

}  // namespace

Result<ImageInfo> pack_image(const Store& store, const std::string& reference,
                             const ProgressSink& progress, const CallLimits& limits) {
  const CallCheck check(limits, "pack image " + reference);
  auto image = store.open_image(reference);
  if (!image) return base::fail(image.error());
  if (image->manifest.form == ImageForm::packed) return image->manifest.info;
  report(progress, "pack " + label(image->manifest));
  return convert(store, std::move(*image), ImageForm::packed, kPackedMemory, pack, check);
}

Result<ImageInfo> unpack_image(const Store& store, const std::string& reference,
                               const ProgressSink& progress, const CallLimits& limits) {
  const CallCheck check(limits, "unpack image " + reference);
  auto image = store.open_image(reference);
  if (!image) return base::fail(image.error());
  if (image->manifest.form == ImageForm::raw) return image->manifest.info;
  report(progress, "unpack " + label(image->manifest));
  return convert(store, std::move(*image), ImageForm::raw, kRawMemory, unpack, check);
}

}  // namespace microvm::host
