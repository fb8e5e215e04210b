#include "host/vm/start_vm.hpp"

#include <fcntl.h>

#include "host/store/files.hpp"
#include "host/vm/launch.hpp"
#include "host/vm/verified_files.hpp"
#include "host/vm/vm_directory.hpp"

namespace microvm::host {
namespace {

// Everything of the store a restore reads, open.
struct ImageFiles {
  ImageEntry image;
  BaseEntry base;
  base::Fd memory;
  base::Fd state;
  std::vector<base::Fd> layers;  // the base's disk first
};

Result<void> open_into(const std::filesystem::path& path, base::Fd& fd) {
  auto opened = open_file(path, O_RDONLY | O_NOFOLLOW);
  if (!opened) return base::fail(opened.error());
  fd = std::move(*opened);
  return {};
}

Result<void> verify_image(const ImageFiles& files, const Limits& limits) {
  const ImageManifest& manifest = files.image.manifest;
  std::vector<FileToVerify> own = {{&manifest.memory, files.memory.get()},
                                   {&manifest.state, files.state.get()}};
  for (size_t i = 0; i < manifest.layers.size(); ++i) {
    own.push_back({&manifest.layers[i], files.layers[i + 1].get()});
  }
  if (auto ok = verify_files(files.image.dir, own, limits); !ok) return ok;
  const FileToVerify disk{&files.base.manifest.disk, files.layers[0].get()};
  return verify_files(files.base.dir, {&disk, 1}, limits);
}

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
  ImageFiles files{std::move(*image), std::move(*base), {}, {}, {}};
  std::vector<std::filesystem::path> layers = {files.base.path(files.base.manifest.disk)};
  for (const FileRecord& layer : files.image.manifest.layers) {
    layers.push_back(files.image.path(layer));
  }
  files.layers.resize(layers.size());
  auto ok = open_into(files.image.path(files.image.manifest.memory), files.memory);
  if (ok) ok = open_into(files.image.path(files.image.manifest.state), files.state);
  for (size_t i = 0; ok && i < layers.size(); ++i) ok = open_into(layers[i], files.layers[i]);
  if (ok) ok = verify_image(files, limits);
  if (!ok) return base::fail(ok.error());
  return files;
}

// As RestoreRequest says; the locks on image and base stay with the worker.
std::vector<int> restore_fds(const ImageFiles& image, const VmFiles& vm) {
  std::vector<int> fds = {image.memory.get(),   image.state.get(),   vm.listener.get(),
                          vm.exit_record.get(), vm.kernel_log.get(), vm.app_log.get()};
  for (const base::Fd& layer : image.layers) fds.push_back(layer.get());
  fds.push_back(vm.layer.get());
  fds.push_back(image.image.in_use.get());
  fds.push_back(image.base.in_use.get());
  return fds;
}

VmRecord make_record(const NewVmDirectory& directory, const ImageInfo& image,
                     const RunOptions& options, const Identity& identity, uint32_t worker_pid) {
  VmRecord record;
  record.id = directory.id();
  record.name = options.name;
  record.image = image.name + ":" + image.version;
  record.created = rfc3339_now();
  record.memory_bytes = image.memory_bytes;
  record.vcpus = image.vcpus;
  record.worker_pid = worker_pid;
  record.dies_with_owner = options.dies_with_owner;
  record.hostname = identity.hostname;
  record.machine_id = identity.machine_id;
  record.boot_id = identity.boot_id;
  return record;
}

wire::RestoreRequest restore_request(const VmRecord& record, const ImageFiles& files) {
  wire::RestoreRequest request;
  request.attachment = {record.id, record.dies_with_owner};
  const auto layers = static_cast<uint16_t>(files.layers.size() + 1);
  request.disks = {{.read_only = false, .layers = layers}};
  return request;
}

}  // namespace

Result<void> verify_image(const Store& store, const std::string& reference,
                          const CallLimits& limits) {
  const auto files = open_image_files(store, reference, Limits(limits));
  if (!files) return base::fail(files.error());
  return {};
}

Shape shape_of(const ImageManifest& manifest) {
  return {manifest.info.memory_bytes, static_cast<uint16_t>(manifest.info.vcpus), 1};
}

Result<std::shared_ptr<Vm::Impl>> start_vm(const std::shared_ptr<Core>& core,
                                           const std::string& image, const RunOptions& options,
                                           const CallLimits& call_limits) {
  const LaunchClock clock;
  LaunchTimes times;
  const Limits limits(call_limits, options.start_timeout);
  const auto files = open_image_files(core->store, image, limits);
  if (!files) return base::fail(files.error());
  const ImageManifest& manifest = files->image.manifest;
  const Shape shape = shape_of(manifest);
  if (core->pool_size > 0) core->pool->keep(shape, core->pool_size);
  auto worker = core->pool->take(shape, limits);
  if (!worker) return base::fail(worker.error());
  times.worker_us = clock.us();

  auto directory = NewVmDirectory::create(core->store, options.name);
  if (!directory) return base::fail(directory.error());
  auto identity = make_identity(options.name.empty() ? directory->id() : options.name);
  if (!identity) return base::fail(identity.error());
  const VmRecord record = make_record(*directory, manifest.info, options, *identity, worker->pid());
  {
    // The launching process lets go of the Vm's files, the lock among them, with this block's end.
    auto vm_files = directory->make_files();
    if (!vm_files) return base::fail(vm_files.error());
    if (auto ok = directory->write_record(record); !ok) return base::fail(ok.error());
    auto doorbell =
        launch_guest(*worker, restore_request(record, *files), restore_fds(*files, *vm_files),
                     std::move(*identity), limits, clock, times);
    if (!doorbell) return base::fail(doorbell.error());
    auto vm = std::make_shared<Vm::Impl>(core, record, manifest.info.config);
    directory->keep();
    vm->own(std::move(*worker), std::move(*doorbell), times);
    core->pool->fill_in_background(shape);
    return vm;
  }
}

Result<std::shared_ptr<Vm::Impl>> attach_vm(const std::shared_ptr<Core>& core,
                                            const std::string& id_or_name) {
  const auto id = resolve_vm(core->store, id_or_name);
  if (!id) return base::fail(id.error());
  const auto record = read_record(core->store.vm_dir(*id));
  if (!record) return base::fail(record.error());
  ImageConfig config;
  if (const auto image = core->store.open_image(record->image)) {
    config = image->manifest.info.config;
  }
  auto vm = std::make_shared<Vm::Impl>(core, *record, std::move(config));
  vm->attach();
  return vm;
}

}  // namespace microvm::host
