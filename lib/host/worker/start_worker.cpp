#include "host/worker/start_worker.hpp"

#include <fcntl.h>

#include "host/store/files.hpp"
#include "host/worker/admission.hpp"
#include "host/worker/guest_network.hpp"
#include "sys/file.hpp"
#include "sys/socket.hpp"
#include "wire/net.hpp"
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
  if (image.modules_disk) fds.vm.disks.push_back({image.modules_disk.get()});
  if (has_working_set(image, point)) fds.working_set = image.working_set.get();
  if (vm.kept_logs) fds.vm.kept_logs = vm.kept_logs.get();
  fds.vm.leases = {image.image.in_use.get(), image.base.in_use.get()};
  return fds;
}

// It sleeps until the guest's first packet, or as long as the worker lives.
Result<void> send_home(base::Fd starter, int home) {
  if (!starter || home < 0) return {};
  const auto sent = sys::send_message(starter.get(), wire::encode_net(wire::NetOk{}), {&home, 1});
  if (sent) return {};
  return base::fail(sent.error().code,
                    "what starts the network has ended: " + sent.error().message);
}

}  // namespace

Shape shape_of(const ImageManifest& manifest) {
  return {.memory_bytes = manifest.info.memory_bytes,
          .vcpus = static_cast<uint16_t>(manifest.info.vcpus),
          .disks = static_cast<uint16_t>(manifest.modules_disk ? 2 : 1),
          .nets = manifest.nets,
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
  if (auto ok = send_home(worker.take_home(), start.home); !ok) return base::fail(ok.error());
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
  if (start.image.modules_disk) request.disks.push_back({.read_only = true});
  start.identity.network = guest_network(start.record.network);
  const bool is_user = start.record.network.mode == NetworkMode::user;
  if (is_user) request.network = wire::NetworkKind::user;
  auto to_pack = restore_fds(start.image, start.point, start.files);
  if (start.tap >= 0) to_pack.vm.tap = start.tap;
  const std::vector<int> fds = wire::pack(to_pack, request);
  auto lock = sys::duplicate(start.files.exit_record.get(), "keep the microvm's lock");
  if (!lock) return base::fail(lock.error());
  auto guest = start_guest({.taken = std::move(start.taken),
                            .request = std::move(request),
                            .fds = fds,
                            .identity = std::move(start.identity),
                            .home = is_user ? start.files.home.get() : -1,
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
