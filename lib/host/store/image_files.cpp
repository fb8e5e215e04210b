#include "host/store/image_files.hpp"

#include <fcntl.h>

#include "host/store/files.hpp"
#include "host/store/verified_files.hpp"

namespace microvm::host {
namespace {

Result<void> open_into(const std::filesystem::path& path, base::Fd& fd) {
  auto opened = open_file(path, O_RDONLY | O_NOFOLLOW);
  if (!opened) return base::fail(opened.error());
  fd = std::move(*opened);
  return {};
}

// No lock holds the kernel's entry: it stays as long as an image names it, and the image is held.
Result<void> open_modules_disk(const Store& store, ImageFiles& files, const Limits& limits) {
  const auto& record = files.image.manifest.modules_disk;
  if (!record) return {};
  const auto dir = store.kernel_dir(files.image.manifest.kernel_digest);
  if (auto ok = open_into(dir / record->file, files.modules_disk); !ok) return ok;
  const FileToVerify disk{&*record, files.modules_disk.get()};
  return verify_files(dir, {&disk, 1}, limits);
}

Result<void> verify(const ImageFiles& files, const Limits& limits) {
  const ImageManifest& manifest = files.image.manifest;
  std::vector<FileToVerify> own = {{&manifest.memory, files.memory.get()},
                                   {&manifest.state, files.state.get()}};
  if (manifest.working_set) own.push_back({&*manifest.working_set, files.working_set.get()});
  for (size_t i = 0; i < manifest.layers.size(); ++i) {
    own.push_back({&manifest.layers[i], files.layers[i + 1].get()});
  }
  if (auto ok = verify_files(files.image.dir, own, limits); !ok) return ok;
  const FileToVerify disk{&files.base.manifest.disk, files.layers[0].get()};
  return verify_files(files.base.dir, {&disk, 1}, limits);
}

}  // namespace

Result<ImageFiles> open_image_files(const Store& store, const std::string& reference,
                                    const Limits& limits) {
  auto image = store.open_image(reference);
  if (!image) return base::fail(image.error());
  const ImageManifest& manifest = image->manifest;
  if (manifest.form != ImageForm::raw) {
    const std::string name = manifest.info.name + ":" + manifest.info.version;
    return base::fail(
        ErrorCode::busy,
        "image " + name + " is packed: unpack it first (microvm image unpack " + name + ")");
  }
  auto base = store.open_base(manifest.base_digest);
  if (!base) return base::fail(base.error());
  ImageFiles files{std::move(*image), std::move(*base), {}, {}, {}, {}, {}};
  std::vector<std::filesystem::path> layers = {files.base.path(files.base.manifest.disk)};
  for (const FileRecord& layer : files.image.manifest.layers) {
    layers.push_back(files.image.path(layer));
  }
  files.layers.resize(layers.size());
  auto ok = open_into(files.image.path(files.image.manifest.memory), files.memory);
  if (ok) ok = open_into(files.image.path(files.image.manifest.state), files.state);
  const auto& working_set = files.image.manifest.working_set;
  if (ok && working_set) ok = open_into(files.image.path(*working_set), files.working_set);
  for (size_t i = 0; ok && i < layers.size(); ++i) ok = open_into(layers[i], files.layers[i]);
  if (ok) ok = open_modules_disk(store, files, limits);
  if (ok) ok = verify(files, limits);
  if (!ok) return base::fail(ok.error());
  return files;
}

}  // namespace microvm::host
