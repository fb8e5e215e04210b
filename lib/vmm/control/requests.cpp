// What each request of the control wire does. A request that changes nothing is answered at any
// time; one that changes the machine waits while another one does.
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "sys/socket.hpp"
#include "vmm/arch/arch.hpp"
#include "vmm/control/jail.hpp"
#include "vmm/control/net_starter.hpp"
#include "vmm/control/worker.hpp"
#include "vmm/disk/disk_stack.hpp"
#include "vmm/disk/layer_stack.hpp"
#include "vmm/snapshot/restore.hpp"
#include "vmm/snapshot/save.hpp"
#include "vmm/snapshot/working_set.hpp"
#include "vmm/virtio/block.hpp"

namespace microvm::vmm::control {
namespace {

using Reason = wire::ExitEvent::Reason;
static_assert(wire::kMaxLayers == kMaxDiskFiles);

// The few bytes of a process name that tools show.
void name_process(const std::string& vm_id) {
  pthread_setname_np(pthread_self(), ("vm-" + vm_id).substr(0, 15).c_str());
}

}  // namespace

uint64_t Worker::us_since(Clock::time_point start) {
  const auto time = Clock::now() - start;
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(time).count());
}

Result<void> Worker::check_stage(Stage wanted) const {
  if (end_requested_) return base::fail(ErrorCode::vm_gone, "the vm has ended");
  if (stage_ == wanted) return {};
  switch (stage_) {
    case Stage::empty:
      return base::fail(ErrorCode::busy, "the worker has no machine yet");
    case Stage::shaped:
      return base::fail(ErrorCode::busy, "the vm was not started yet");
    case Stage::failed:
      return base::fail(ErrorCode::busy, "the vm could not be started; end this worker");
    case Stage::started:
      return base::fail(ErrorCode::busy, "the vm was started already");
  }
  return {};
}

// ---- starting ----------------------------------------------------------------------------------

Worker::Outcome Worker::serve(Request& request, const wire::ShapeRequest& wanted) {
  if (auto ok = check_stage(Stage::empty); !ok) return base::fail(ok.error());
  const bool with_net = wanted.shape.nets > 0 && request.fds.size() == 3;
  if (request.fds.size() != 1 && !with_net) {
    return base::fail(ErrorCode::invalid_argument,
                      "a shape request comes with /dev/kvm, and one for a network with microvm-net "
                      "and its home besides");
  }
  if (auto ok = start_net_link(request, wanted.shape); !ok) return base::fail(ok.error());
  auto kvm = kvm::Kvm::open(std::move(request.fds.front()));
  if (!kvm) return base::fail(kvm.error());
  auto machine =
      Machine::shape(loop_, std::move(*kvm), wanted.shape,
                     {.console =
                          [this](uint8_t byte) {
                            const auto value = std::byte{byte};
                            kernel_log_.append({&value, 1});
                          },
                      .ended = [this](wire::ExitEvent event) { request_end(std::move(event)); },
                      .log = log_sink()});
  if (!machine) return base::fail(machine.error());
  loop_.prepare_file_io();
  machine_ = std::move(*machine);
  // All threads and fds are there; what is hostile comes after this.
  if (auto ok = lock_down(); !ok) return base::fail(ok.error());
  stage_ = Stage::shaped;
  return Answer{wire::OkReply{}, {}};
}

// The starter is a copy of this process, so it is made before there is anything in it.
Result<void> Worker::start_net_link(Request& request, const wire::Shape& shape) {
  if (shape.nets == 0) return {};
  base::Fd starter;
  if (request.fds.size() == 3) {
    auto forked = fork_net_starter(std::move(request.fds[1]), std::move(request.fds[2]));
    if (!forked) return base::fail(forked.error());
    starter = std::move(*forked);
  }
  net_link_ = std::make_unique<NetLink>(
      loop_, std::move(starter), [this](wire::NetworkEvent event) { tell_all(std::move(event)); });
  return {};
}

Worker::Outcome Worker::serve(Request& request, const wire::ProbeRequest&) {
  if (auto ok = check_stage(Stage::empty); !ok) return base::fail(ok.error());
  if (request.fds.size() != 1) {
    return base::fail(ErrorCode::invalid_argument, "a probe request comes with /dev/kvm");
  }
  request_end({Reason::terminated, "probed"});
  const auto kvm = kvm::Kvm::open(std::move(request.fds.front()));
  if (!kvm) return base::fail(kvm.error());
  if (auto ok = arch::probe(*kvm); !ok) return base::fail(ok.error());
  return Answer{wire::OkReply{}, {}};
}

Worker::Outcome Worker::serve(Request& request, const wire::SmpProbeRequest& probe) {
  constexpr uint32_t kLongestMs = 10'000;
  if (auto ok = check_stage(Stage::empty); !ok) return base::fail(ok.error());
  if (request.fds.size() != 1 || probe.run_ms > kLongestMs) {
    return base::fail(ErrorCode::invalid_argument,
                      "a probe request comes with /dev/kvm, and takes at most ten seconds");
  }
  request_end({Reason::terminated, "probed"});
  const auto kvm = kvm::Kvm::open(std::move(request.fds.front()));
  if (!kvm) return base::fail(kvm.error());
  const auto result = arch::probe_smp(*kvm, probe.vcpus, std::chrono::milliseconds(probe.run_ms));
  if (!result) return base::fail(result.error());
  return Answer{wire::SmpProbeReply{result->rounds, result->tsc_backwards,
                                    result->most_backwards_ticks, result->tsc_khz},
                {}};
}

Worker::Outcome Worker::serve(Request& request, const wire::BootRequest& boot) {
  if (auto ok = check_stage(Stage::shaped); !ok) return base::fail(ok.error());
  auto fds = wire::unpack(boot, std::move(request.fds));
  if (!fds) return base::fail(fds.error());
  stage_ = Stage::failed;  // until it has worked
  if (auto ok = attach_devices(fds->vm, boot.disks, boot.network); !ok)
    return base::fail(ok.error());
  const auto booted =
      machine_->boot_linux({std::move(fds->vmlinux), std::move(fds->initramfs), boot.cmdline});
  if (!booted) return base::fail(booted.error());
  start(request, std::move(fds->vm), boot.attachment);
  return Later{};
}

Worker::Outcome Worker::serve(Request& request, const wire::RestoreRequest& restore) {
  if (auto ok = check_stage(Stage::shaped); !ok) return base::fail(ok.error());
  auto fds = wire::unpack(restore, std::move(request.fds));
  if (!fds) return base::fail(fds.error());
  stage_ = Stage::failed;  // until it has worked
  if (auto ok = attach_devices(fds->vm, restore.disks, restore.network); !ok)
    return base::fail(ok.error());
  start_received_ = request.received;
  steps_.devices = since_start(Clock::now());
  const auto restored =
      snapshot::restore(*machine_, {fds->memory.get(), fds->state.get(), fds->overlays});
  if (!restored) return base::fail(restored.error());
  steps_.state = since_start(restored->checked);
  steps_.memory = since_start(restored->mapped);
  steps_.applied = since_start(restored->applied);
  if (fds->working_set) {
    const auto ready = snapshot::bring_in_working_set(*machine_, fds->working_set->get());
    if (!ready) return base::fail(ready.error());
    steps_.pages = since_start(Clock::now());
  }
  start(request, std::move(fds->vm), restore.attachment);
  return Later{};
}

// Before the first byte of this life. Logs that cannot be read are no reason not to run.
void Worker::load_logs(wire::VmFds<base::Fd>& files) {
  if (files.kept_logs && log_keeper_.load(std::move(*files.kept_logs))) return;
  static_cast<void>(kernel_log_.load(files.kernel_log.get()));
  static_cast<void>(app_log_.load(files.app_log.get()));
}

// The answer first, then the guest: its thread may take the core from this one as soon as it is
// woken. What the answer leads to is served after this, and finds a machine that runs. What can be
// done later is done last.
void Worker::start(const Request& request, wire::VmFds<base::Fd> files,
                   const wire::Attachment& attachment) {
  start_received_ = request.received;
  stage_ = Stage::started;
  dies_with_owner_ = attachment.dies_with_owner;  // the answer may find that the owner is gone
  reply(request.from, request.id, Answer{wire::OkReply{}, {}});
  steps_.answered = since_start(Clock::now());
  load_logs(files);
  machine_->run();
  log_keeper_.begin();
  listener_ = std::move(files.listener);
  exit_record_ = std::move(files.exit_record);
  kernel_log_file_ = std::move(files.kernel_log);
  app_log_file_ = std::move(files.app_log);
  leases_ = std::move(files.leases);
  name_process(attachment.vm_id);
  listen_for_clients();
}

uint64_t Worker::since_start(Clock::time_point when) const {
  return when > start_received_ ? static_cast<uint64_t>((when - start_received_).count()) : 0;
}

wire::StartSteps Worker::steps() const {
  wire::StartSteps steps = steps_;
  steps.received_at_ns = static_cast<uint64_t>(start_received_.time_since_epoch().count());
  steps.entered = since_start(machine_->first_run());
  return steps;
}

// A Vm that nobody can attach to is no use; its owner has its answer already and hears of the end.
void Worker::listen_for_clients() {
  if (auto ok = sys::set_nonblocking(listener_.get()); !ok) {
    return request_end({Reason::internal_error, "listen for clients: " + ok.error().message});
  }
  listener_watch_ = loop_.watch(listener_.get(), POLLIN, [this](uint32_t) { accept_client(); });
}

// ---- while it runs -----------------------------------------------------------------------------

Worker::Outcome Worker::serve(Request& request, const wire::ConnectRequest& connect) {
  if (auto ok = check_stage(Stage::started); !ok) return base::fail(ok.error());
  vsock_->connect(connect.port, [this, from = request.from, id = request.id](Result<base::Fd> fd) {
    if (!fd) return reply(from, id, base::fail(fd.error()));
    Answer answer{wire::OkReply{}, {}};
    answer.fds.push_back(std::move(*fd));
    reply(from, id, std::move(answer));
  });
  return Later{};
}

Worker::Outcome Worker::serve(Request& request, const wire::SnapshotRequest&) {
  if (auto ok = check_stage(Stage::started); !ok) return base::fail(ok.error());
  if (request.fds.size() != 2) {
    return base::fail(ErrorCode::invalid_argument,
                      "a snapshot request comes with a memory and a state file");
  }
  const BusyMark mark(busy_);
  leave_standing();
  const auto saved = snapshot::save(*machine_, request.fds[0].get(), request.fds[1].get());
  if (!saved) return base::fail(saved.error());
  return Answer{wire::SnapshotReply{saved->memory_bytes, saved->memory_data_bytes,
                                    us_since(request.received)},
                {}};
}

Worker::Outcome Worker::serve(Request& request, const wire::WorkingSetRequest&) {
  if (auto ok = check_stage(Stage::started); !ok) return base::fail(ok.error());
  if (request.fds.size() != 1) {
    return base::fail(ErrorCode::invalid_argument, "a working set request comes with a file");
  }
  const BusyMark mark(busy_);
  const bool was_running = machine_->running();
  if (auto ok = machine_->pause(); !ok) return base::fail(ok.error());
  const auto done = snapshot::record_working_set(*machine_, request.fds[0].get());
  if (was_running) machine_->run();
  if (!done) return base::fail(done.error());
  return Answer{wire::OkReply{}, {}};
}

Worker::Outcome Worker::serve(Request&, const wire::PauseRequest&) {
  if (auto ok = check_stage(Stage::started); !ok) return base::fail(ok.error());
  const BusyMark mark(busy_);
  leave_standing();
  if (auto ok = machine_->pause(); !ok) return base::fail(ok.error());
  return Answer{wire::OkReply{}, {}};
}

Worker::Outcome Worker::serve(Request& request, const wire::ResumeRequest& resume) {
  if (auto ok = check_stage(Stage::started); !ok) return base::fail(ok.error());
  if (resume.drop_layers && new_layers_ == NewLayers::pushed && stands_for_ == request.from) {
    for (DiskStack* disk : writable_disks_) disk->pop_layer();
  }
  leave_standing();
  reply(request.from, request.id, Answer{wire::OkReply{}, {}});  // see start()
  machine_->run();
  return Later{};
}

Worker::Outcome Worker::serve(Request&, const wire::LogsRequest& logs) {
  Log& log = logs.which == wire::LogsRequest::Which::kernel ? kernel_log_ : app_log_;
  if (logs.positions) {
    auto opened = log.open_reader_at(logs.from, logs.follow);
    if (!opened) return base::fail(opened.error());
    const auto life = static_cast<uint64_t>(start_received_.time_since_epoch().count());
    Answer answer{wire::LogsReply{opened->begin, log.life_begin(), life}, {}};
    answer.fds.push_back(std::move(opened->stream));
    return answer;
  }
  auto reader = log.open_reader(logs.follow);
  if (!reader) return base::fail(reader.error());
  Answer answer{wire::OkReply{}, {}};
  answer.fds.push_back(std::move(*reader));
  return answer;
}

Worker::Outcome Worker::serve(Request&, const wire::InfoRequest&) {
  if (!machine_) return base::fail(check_stage(Stage::started).error());
  wire::InfoReply info;
  info.worker_pid = static_cast<uint32_t>(::getpid());
  info.paused = stage_ == Stage::started && !machine_->running();
  info.memory_bytes = machine_->current_shape().memory_bytes;
  info.vcpus = machine_->current_shape().vcpus;
  info.exits = machine_->exits();
  if (const auto first = machine_->first_run(); first > start_received_) {
    info.start_to_run_ns = static_cast<uint64_t>((first - start_received_).count());
  }
  info.devices_needing_reset = machine_->devices_needing_reset();
  info.steps = steps();
  if (net_ != nullptr) info.net = net_->counters();
  if (net_link_) info.net.starts = net_link_->starts();
  return Answer{info, {}};
}

Worker::Outcome Worker::serve(Request&, const wire::TerminateRequest& terminate) {
  request_end({terminate.suspended ? Reason::suspended : Reason::terminated, {}});
  return Answer{wire::OkReply{}, {}};
}

Worker::Outcome Worker::serve(Request&, const wire::UnknownMessage& unknown) {
  return base::fail(ErrorCode::unsupported,
                    "this worker speaks version " + std::to_string(wire::kControlVersion) +
                        " of the control wire and knows no request " +
                        std::to_string(unknown.type) +
                        ": suspend and resume the microvm for a newer worker");
}

// What devices have to say stands between the lines of the guest's own kernel.
base::LogSink Worker::log_sink() {
  return [this](base::LogLevel, std::string_view line) {
    kernel_log_.append(wire::as_bytes("microvm: " + std::string(line) + "\n"));
  };
}

// ---- devices -----------------------------------------------------------------------------------

Result<void> Worker::attach_devices(wire::VmFds<base::Fd>& files,
                                    const std::vector<wire::DiskSpec>& disks,
                                    wire::NetworkKind network) {
  if (auto ok = attach_network(files, network); !ok) return ok;
  for (uint32_t index = 0; index < disks.size(); ++index) {
    const DiskOptions options{.read_only = disks[index].read_only};
    auto disk = DiskStack::open(loop_, std::move(files.disks[index]), options);
    if (!disk) return base::fail(disk.error());
    if (!options.read_only) writable_disks_.push_back(disk->get());
    auto block = std::make_unique<BlockDevice>(
        std::move(*disk), disks[index].hold_when_full ? WhenFull::hold : WhenFull::fail,
        "disk" + std::to_string(index), log_sink(), [this](int error) { on_disk_error(error); });
    if (auto ok = machine_->attach(std::move(block), index); !ok) return ok;
  }
  auto vsock = std::make_unique<VsockDevice>(loop_, VsockLimits{.connections = max_streams_});
  vsock_ = vsock.get();
  vsock_->listen(wire::kAgentDoorbellPort, [this](base::Fd fd) {
    if (steps_.rang == 0) steps_.rang = since_start(Clock::now());
    agent_offer_.ring(std::move(fd));
  });
  vsock_->listen(wire::kAppLogPort, [this](base::Fd fd) { app_streams_.add(std::move(fd)); });
  vsock_->listen(wire::kClockPort, [this](base::Fd fd) { clock_streams_.add(std::move(fd)); });
  return machine_->attach(std::move(vsock));
}

// A machine of a shape with a network has the device, connected to something or not.
Result<void> Worker::attach_network(wire::VmFds<base::Fd>& files, wire::NetworkKind network) {
  using wire::NetworkKind;
  if (!net_link_) {
    if (network == NetworkKind::none) return {};
    return base::fail(ErrorCode::unsupported,
                      "the image was made without a network: build it anew");
  }
  std::unique_ptr<NetDevice> device;
  if (network == NetworkKind::user) {
    device = net_link_->make_device();
  } else {
    device = std::make_unique<NetDevice>(
        loop_, network, NetDevice::Callbacks{.tap_lost = [this](const Error& error) {
          tell_all(wire::NetworkEvent{wire::NetworkEvent::What::ended,
                                      static_cast<uint32_t>(error.code), error.message});
        }});
  }
  net_ = device.get();
  if (files.tap) net_->connect(std::move(*files.tap));
  return machine_->attach(std::move(device));
}

}  // namespace microvm::vmm::control
