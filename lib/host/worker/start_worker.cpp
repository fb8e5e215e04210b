#include "host/worker/start_worker.hpp"

#include <fcntl.h>

#include "host/store/files.hpp"
#include "host/worker/admission.hpp"
#include "sys/file.hpp"
#include "wire/start_fds.hpp"

namespace microvm::host {
namespace {

// It is that of the image's own snapshot. Forks share the pages of their source, and keep to them.
bool has_working_set(const ImageFiles& image, const StartPoint& point) {
  return image.working_set.valid() && (!point.state.valid() || point.resumes);
}

void add_fds(std::vector<int>& to, const std::vector<base::Fd>& fds) {
  for (const base::Fd& fd : fds) to.push_back(fd.get());
}

// The locks on image and base stay with the worker.
wire::RestoreFds<int> restore_fds(const ImageFiles& image, const StartPoint& point,
                                  const WorkerFiles& vm) {
  wire::RestoreFds<int> fds;
  fds.memory = image.memory.get();
  fds.state = (point.state ? point.state : image.state).get();
  fds.vm.listener = vm.listener.get();
  fds.vm.exit_record = vm.exit_record.get();
  fds.vm.kernel_log = vm.kernel_log.get();
  fds.vm.app_log = vm.app_log.get();
  add_fds(fds.overlays, point.overlays);
  std::vector<int>& layers = fds.vm.disks.emplace_back();
  add_fds(layers, image.layers);
  add_fds(layers, point.layers);
  layers.push_back(vm.layer.get());
  if (has_working_set(image, point)) fds.working_set = image.working_set.get();
  if (vm.kept_logs) fds.vm.kept_logs = vm.kept_logs.get();
  fds.vm.leases = {image.image.in_use.get(), image.base.in_use.get()};
  return fds;
}

}  // namespace

Shape shape_of(const ImageManifest& manifest) {
  return {.memory_bytes = manifest.info.memory_bytes,
          .vcpus = static_cast<uint16_t>(manifest.info.vcpus),
          .disks = 1,
          .transport = manifest.transport};
}

Result<TakenWorker> take_worker(WorkerHost& host, const Shape& shape, const Limits& limits,
                                const Stopwatch& clock) {
  PoolRefill refill(*host.pool, shape);
  auto worker = host.pool->take(shape, limits);
  if (!worker) return base::fail(worker.error());
  clock.mark(worker->pooled() ? "worker: from the pool" : "worker: started and shaped");
  TakenWorker taken{std::move(*worker), std::move(refill), {}};
  taken.times.worker_us = clock.us();
  return taken;
}

Result<StartedGuest> start_guest(GuestStart start) {
  auto& [worker, refill, times] = start.taken;
  auto doorbell =
      launch_guest(worker, std::move(start.request), start.fds, std::move(start.identity),
                   start.limits, start.clock, times, start.ahead);
  if (!doorbell) return base::fail(doorbell.error());
  refill.guest_is_ready(std::chrono::microseconds(start.clock.us()));
  return StartedGuest{std::move(worker), std::move(*doorbell), times, std::move(refill)};
}

Result<StartedWorker> start_worker(WorkerHost& host, WorkerStart start) {
  if (auto ok = check_memory_limit(host, start.what); !ok) return base::fail(ok.error());
  wire::RestoreRequest request;
  request.attachment = {start.record.id, start.record.dies_with_owner};
  request.disks = {{.hold_when_full = true}};
  const std::vector<int> fds =
      wire::pack(restore_fds(start.image, start.point, start.files), request);
  auto lock = sys::duplicate(start.files.exit_record.get(), "keep the microvm's lock");
  if (!lock) return base::fail(lock.error());
  auto guest = start_guest({.taken = std::move(start.taken),
                            .request = std::move(request),
                            .fds = fds,
                            .identity = std::move(start.identity),
                            .limits = start.limits,
                            .clock = start.clock,
                            .ahead = ControlClient::Ahead::asked});
  if (!guest) return base::fail(guest.error());
  return StartedWorker{std::move(guest->worker), std::move(guest->doorbell), std::move(*lock),
                       guest->times, std::move(guest->refill)};
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
