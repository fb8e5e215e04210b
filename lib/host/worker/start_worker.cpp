#include "host/worker/start_worker.hpp"

#include <fcntl.h>

#include "host/store/files.hpp"
#include "sys/file.hpp"

namespace microvm::host {
namespace {

// It is that of the image's own snapshot: a Vm that was saved later goes on with other pages.
bool has_working_set(const ImageFiles& image, const StartPoint& point) {
  return image.working_set.valid() && !point.state.valid();
}

// As RestoreRequest says; the locks on image and base stay with the worker.
std::vector<int> restore_fds(const ImageFiles& image, const StartPoint& point,
                             const WorkerFiles& vm) {
  const base::Fd& state = point.state ? point.state : image.state;
  std::vector<int> fds = {image.memory.get(),   state.get(),         vm.listener.get(),
                          vm.exit_record.get(), vm.kernel_log.get(), vm.app_log.get()};
  for (const base::Fd& overlay : point.overlays) fds.push_back(overlay.get());
  for (const base::Fd& layer : image.layers) fds.push_back(layer.get());
  for (const base::Fd& layer : point.layers) fds.push_back(layer.get());
  fds.push_back(vm.layer.get());
  if (has_working_set(image, point)) fds.push_back(image.working_set.get());
  fds.push_back(image.image.in_use.get());
  fds.push_back(image.base.in_use.get());
  return fds;
}

wire::RestoreRequest restore_request(const VmRecord& record, const ImageFiles& image,
                                     const StartPoint& point) {
  wire::RestoreRequest request;
  request.attachment = {record.id, record.dies_with_owner};
  const auto layers = static_cast<uint16_t>(image.layers.size() + point.layers.size() + 1);
  request.disks = {{.hold_when_full = true, .layers = layers}};
  request.overlays = static_cast<uint16_t>(point.overlays.size());
  request.working_set = has_working_set(image, point);
  return request;
}

}  // namespace

Shape shape_of(const ImageManifest& manifest) {
  return {.memory_bytes = manifest.info.memory_bytes,
          .vcpus = static_cast<uint16_t>(manifest.info.vcpus),
          .disks = 1};
}

Result<StartedWorker> start_worker(Worker worker, const VmRecord& record, const ImageFiles& image,
                                   const StartPoint& point, WorkerFiles files, Identity identity,
                                   const Limits& limits, const LaunchClock& clock,
                                   LaunchTimes times) {
  auto doorbell =
      launch_guest(worker, restore_request(record, image, point), restore_fds(image, point, files),
                   std::move(identity), limits, clock, times);
  if (!doorbell) return base::fail(doorbell.error());
  auto lock = sys::duplicate(files.exit_record.get(), "keep the microvm's lock");
  if (!lock) return base::fail(lock.error());
  return StartedWorker{std::move(worker), std::move(*doorbell), std::move(*lock), times};
}

Result<std::vector<base::Fd>> open_layers(const std::filesystem::path& dir,
                                          const std::vector<std::string>& names) {
  std::vector<base::Fd> layers;
  for (const std::string& name : names) {
    auto layer = open_file(dir / name, O_RDONLY | O_NOFOLLOW);
    if (!layer) return base::fail(layer.error());
    layers.push_back(std::move(*layer));
  }
  return layers;
}

}  // namespace microvm::host
