#include "host/worker/build_guest.hpp"

#include <fcntl.h>

#include "host/base/embedded.hpp"
#include "host/image/initramfs.hpp"
#include "host/network/setup_file.hpp"
#include "host/network/vm_network.hpp"
#include "host/session/agent_client.hpp"
#include "host/session/hook_call.hpp"
#include "host/session/started_command.hpp"
#include "host/store/files.hpp"
#include "host/worker/control_client.hpp"
#include "host/worker/guest_clock.hpp"
#include "host/worker/read_stream.hpp"
#include "host/worker/start_worker.hpp"
#include "host/worker/vm_link.hpp"
#include "sys/file.hpp"
#include "sys/socket.hpp"
#include "wire/log_size.hpp"

namespace microvm::host {
namespace {

// Of the slowest machine: a boot takes seconds under emulation, a tenth of one on hardware.
constexpr std::chrono::minutes kBootLimit{2};
constexpr std::chrono::minutes kShutdownLimit{2};
constexpr std::chrono::minutes kOperationLimit{2};
constexpr std::chrono::seconds kLogLimit{5};
// From what fails for a command's end to the word of it.
constexpr std::chrono::milliseconds kEndIsKnown{200};

// But for the clock, which depends on the host.
constexpr const char* kCmdline =
    "console=ttyS0 quiet loglevel=4 reboot=a panic=-1 8250.nr_uarts=1 i8042.noaux i8042.nopnp "
    "no_timer_check cryptomgr.notests init_on_free=1 rdinit=/init ";

// Without a PCI bus a kernel spends time on looking for one.
std::string cmdline_here(wire::TransportKind transport) {
  const char* bus = transport == wire::TransportKind::mmio ? "pci=off " : "";
  return kCmdline + std::string(bus) + clock_arguments(host_clocksource());
}

// Of a guest that nobody else knows.
wire::Attachment attachment() {
  return {.vm_id = "build", .dies_with_owner = true};
}

AgentCommand to_command(const StepCommand& step) {
  AgentCommand command;
  command.argv = step.argv;
  command.env = step.env;
  command.cwd = step.cwd;
  command.user = step.user;
  command.timeout_ms = static_cast<uint32_t>(step.timeout.count());
  command.no_network = step.no_network;
  return command;
}

std::optional<StepOutcome> to_outcome(const std::optional<ExitStatus>& ended) {
  if (!ended) return std::nullopt;
  return StepOutcome{ended->code, ended->signal, {}};
}

Result<void> open_into(const std::filesystem::path& path, int flags, base::Fd& fd) {
  auto opened = open_file(path, flags | O_NOFOLLOW);
  if (!opened) return base::fail(opened.error());
  fd = std::move(*opened);
  return {};
}

Result<void> make_initramfs_file(const KernelEntry& kernel, base::Fd& out) {
  const auto bytes = make_initramfs(embedded_agent(), kernel);
  if (!bytes) return base::fail(bytes.error());
  auto file = sys::memory_file("microvm-initramfs");
  if (!file) return base::fail(file.error());
  if (auto ok = sys::pwrite_full(file->get(), *bytes, 0); !ok) return ok;
  out = std::move(*file);
  return {};
}

class VmBuildGuest : public BuildGuest {
 public:
  // `cmdline`: it was booted with.
  VmBuildGuest(std::shared_ptr<WorkerHost> host, Worker worker, TempEntry scratch,
               base::Fd doorbell, uint64_t boot_ms, std::string cmdline)
      : host_(std::move(host)),
        scratch_(std::move(scratch)),
        worker_(std::move(worker)),
        client_(ControlClient::start(*host_->reactor, worker_.take_control(), {}, {},
                                     ControlClient::Peer::own)),
        agent_(std::make_shared<VmLink>(client_)),
        doorbell_(std::move(doorbell)),
        boot_ms_(boot_ms),
        cmdline_(std::move(cmdline)) {}
  ~VmBuildGuest() override { client_->close(); }

  [[nodiscard]] uint64_t boot_ms() const override { return boot_ms_; }
  [[nodiscard]] std::string kernel_cmdline() const override { return cmdline_; }
  Result<void> put_files(const std::vector<FileToPut>& files, const CallLimits& limits) override {
    return checked(agent_.put_files(files, Limits(limits)));
  }
  Result<StepOutcome> run(const StepCommand& command, const OutputSink& output,
                          const CallLimits& limits) override;
  Result<void> end_programs(const CallLimits& limits) override {
    return checked(agent_.end_programs(Limits(limits, kOperationLimit)));
  }
  Result<void> start(const StepCommand& command, const CallLimits& limits) override;
  Result<std::optional<StepOutcome>> settle(const CallLimits& limits) override;
  std::optional<StepOutcome> command_end() override;
  Result<void> wait_port(uint16_t port, std::chrono::milliseconds timeout,
                         const CallLimits& limits) override {
    return checked(agent_.wait_port(port, timeout, Limits(limits)));
  }
  Result<void> call_hook(const Hooks& hooks, const HookKind& kind,
                         const CallLimits& limits) override {
    return checked(host::call_hook(agent_, hooks, kind, "{}", Limits(limits)));
  }
  std::string app_log() override;
  Result<void> drop_caches(const CallLimits& limits) override {
    return checked(agent_.drop_caches(Limits(limits, kOperationLimit)));
  }
  Result<SnapshotSizes> snapshot(int memory_fd, int state_fd, const CallLimits& limits) override;
  Result<void> record_working_set(int fd, const CallLimits& limits) override;
  Result<void> power_off(const CallLimits& limits) override;

 private:
  // A disk the host could not write decides, whatever the guest makes of it: a program that only
  // wrote to the guest's page cache has succeeded. Nothing ends a guest of a build but itself.
  template <class T>
  [[nodiscard]] Result<T> checked(Result<T> result) const {
    if (result || result.error().code != ErrorCode::cancelled) {
      if (auto failed = client_->disk_error()) return base::fail(std::move(*failed));
    }
    if (!result && result.error().code == ErrorCode::vm_gone) {
      return base::fail(ErrorCode::guest_failed, result.error().message);
    }
    return result;
  }

  std::shared_ptr<WorkerHost> host_;
  TempEntry scratch_;
  Worker worker_;  // ended before the files it uses go
  std::shared_ptr<ControlClient> client_;
  AgentClient agent_;
  std::optional<StartedCommand> command_;
  base::Fd doorbell_;
  uint64_t boot_ms_;
  std::string cmdline_;
};

Result<StepOutcome> VmBuildGuest::run(const StepCommand& command, const OutputSink& output,
                                      const CallLimits& call_limits) {
  const Limits limits(call_limits);
  auto program = checked(agent_.exec(to_command(command), limits.within(kOperationLimit)));
  if (!program) return base::fail(program.error());
  for (;;) {
    // As in Vm::exec_collect().
    if (auto ok = checked(limits.check("run a program")); !ok) return base::fail(ok.error());
    const auto piece = checked(program->read(limits.rest()));
    if (!piece) return base::fail(piece.error());
    if (!*piece) break;
    if (output) output(wire::as_text((*piece)->data));
  }
  auto ended = program->wait(limits.rest());
  // Another stream brought it: a round trip on the worker's own brings what the worker said before.
  [[maybe_unused]] const auto settled =
      client_->call(wire::InfoRequest{}, {}, limits.within(kOperationLimit), "run a program");
  const auto status = checked(std::move(ended));
  if (!status) return base::fail(status.error());
  return StepOutcome{status->code, status->signal, status->message};
}

Result<void> VmBuildGuest::start(const StepCommand& command, const CallLimits& limits) {
  auto started = checked(
      StartedCommand::start(agent_.link(), to_command(command), Limits(limits, kOperationLimit)));
  if (!started) return base::fail(started.error());
  command_.emplace(std::move(*started));
  return {};
}

Result<std::optional<StepOutcome>> VmBuildGuest::settle(const CallLimits& limits) {
  const auto ended = checked(command_->settle(agent_, Limits(limits, kOperationLimit)));
  if (!ended) return base::fail(ended.error());
  return to_outcome(*ended);
}

std::optional<StepOutcome> VmBuildGuest::command_end() {
  if (!command_) return std::nullopt;
  const auto ended = command_->wait_ended(kEndIsKnown, Limits({}));
  return ended ? to_outcome(*ended) : std::nullopt;
}

std::string VmBuildGuest::app_log() {
  const Limits limits({}, kLogLimit);
  constexpr std::string_view kWhat = "read the log";
  const wire::LogsRequest request{wire::LogsRequest::Which::app, false};
  if (const auto stream = client_->call_for_stream(request, limits, kWhat)) {
    return read_stream(stream->get(), wire::kMaxLogBytes, limits, kWhat).value_or("");
  }
  return read_text_file(scratch_.dir() / "app.log", wire::kMaxLogBytes).value_or("");
}

Result<SnapshotSizes> VmBuildGuest::snapshot(int memory_fd, int state_fd,
                                             const CallLimits& call_limits) {
  const Limits limits(call_limits);
  auto frozen =
      checked(agent_.freeze(AgentClient::FreezeFor::image, limits.within(kOperationLimit)));
  if (!frozen) return base::fail(frozen.error());
  const int fds[] = {memory_fd, state_fd};
  const auto reply = checked(client_->call(wire::SnapshotRequest{}, fds, limits, "snapshot"));
  if (!reply) return base::fail(reply.error());
  const auto* sizes = std::get_if<wire::SnapshotReply>(&reply->message);
  if (sizes == nullptr) {
    return base::fail(ErrorCode::protocol, "snapshot: unexpected answer of the worker");
  }
  return SnapshotSizes{sizes->memory_bytes, sizes->memory_data_bytes};
}

Result<void> VmBuildGuest::record_working_set(int fd, const CallLimits& call_limits) {
  const Limits limits(call_limits, kOperationLimit);
  const int fds[] = {fd};
  const auto reply =
      checked(client_->call(wire::WorkingSetRequest{}, fds, limits, "record the working set"));
  if (!reply) return base::fail(reply.error());
  return {};
}

Result<void> VmBuildGuest::power_off(const CallLimits& call_limits) {
  const Limits limits(call_limits, kShutdownLimit);
  if (auto asked = checked(agent_.power_off(limits)); !asked) return asked;
  if (auto ended = checked(client_->wait_ended(limits, "power off")); !ended) return ended;
  const auto exit = client_->exit_event();
  if (exit && exit->reason == wire::ExitEvent::Reason::power_off) return {};
  return base::fail(ErrorCode::guest_failed, client_->explain("power off").message);
}

}  // namespace

// What the worker is given of the host; all of it goes with the guest.
struct VmStepRunner::Files {
  explicit Files(TempEntry entry) : scratch(std::move(entry)) {}
  Result<void> make_scratch_files();
  Result<void> open_read_only_layers(const BuildMachine& machine);
  Result<void> open_modules_disk(const BuildMachine& machine);
  Result<void> make_home(const BuildMachine& machine);
  [[nodiscard]] wire::NetworkKind network() const {
    return home ? wire::NetworkKind::user : wire::NetworkKind::none;
  }

  [[nodiscard]] wire::VmFds<int> vm_fds() const {
    wire::VmFds<int> fds{.listener = listener.get(),
                         .exit_record = exit_record.get(),
                         .kernel_log = kernel_log.get(),
                         .app_log = app_log.get(),
                         .disks = {{}},
                         .leases = {}};
    for (const base::Fd& layer : layers) fds.disks[0].push_back(layer.get());
    if (modules_disk) fds.disks.push_back({modules_disk.get()});
    return fds;
  }
  [[nodiscard]] std::vector<wire::DiskSpec> disk_specs() const {
    std::vector<wire::DiskSpec> disks = {{}};
    if (modules_disk) disks.push_back({.read_only = true});
    return disks;
  }
  [[nodiscard]] wire::BootFds<int> boot_fds() const {
    return {.vmlinux = first.get(), .initramfs = second.get(), .vm = vm_fds()};
  }
  [[nodiscard]] wire::RestoreFds<int> restore_fds() const {
    return {.memory = first.get(),
            .state = second.get(),
            .vm = vm_fds(),
            .overlays = {},
            .working_set = {}};
  }

  TempEntry scratch;
  base::Fd first;   // kernel or memory
  base::Fd second;  // initramfs or state
  base::Fd listener;
  base::Fd exit_record;
  base::Fd kernel_log;
  base::Fd app_log;
  std::vector<base::Fd> layers;
  base::Fd modules_disk;  // if the kernel has one
  base::Fd home;          // of microvm-net; none: the guest has no network
};

Result<void> VmStepRunner::Files::make_scratch_files() {
  const base::Fd directory(::open(scratch.dir().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return base::fail_errno("open " + scratch.dir().string());
  auto socket = sys::listen_unix(directory.get(), "control.sock", sys::SocketKind::seqpacket);
  if (!socket) return base::fail(socket.error());
  listener = std::move(*socket);
  const std::pair<const char*, base::Fd*> names[] = {
      {"exit", &exit_record}, {"kernel.log", &kernel_log}, {"app.log", &app_log}};
  for (const auto& [name, fd] : names) {
    auto file = scratch.create_file(name);
    if (!file) return base::fail(file.error());
    *fd = std::move(*file);
  }
  return {};
}

Result<void> VmStepRunner::Files::open_read_only_layers(const BuildMachine& machine) {
  for (const auto& path : machine.read_only_layers) {
    base::Fd layer;
    if (auto ok = open_into(path, O_RDONLY, layer); !ok) return ok;
    layers.push_back(std::move(layer));
  }
  return {};
}

Result<void> VmStepRunner::Files::open_modules_disk(const BuildMachine& machine) {
  if (machine.modules_disk.empty()) return {};
  return open_into(machine.modules_disk, O_RDONLY, modules_disk);
}

Result<void> VmStepRunner::Files::make_home(const BuildMachine& machine) {
  const auto chosen = choose_network(machine.network, machine.nets != 0, "this build's");
  if (!chosen) return base::fail(chosen.error());
  if (chosen->network.mode != NetworkMode::user) return {};
  if (auto ok = write_new_setup(scratch.dir(), chosen->setup); !ok) return ok;
  return open_into(scratch.dir(), O_PATH | O_DIRECTORY, home);
}

Result<VmStepRunner::Files> VmStepRunner::open_boot_files(const Store& store,
                                                          const BuildMachine& machine) {
  // Kernels stand in directories named by their digests.
  const auto kernel = store.open_kernel(machine.kernel_dir.filename().string());
  if (!kernel) return base::fail(kernel.error());
  auto scratch = store.new_entry();
  if (!scratch) return base::fail(scratch.error());
  Files files(std::move(*scratch));
  base::Fd top;
  auto ok = open_into(kernel->path(kernel->manifest.vmlinux), O_RDONLY, files.first);
  if (ok) ok = make_initramfs_file(*kernel, files.second);
  if (ok) ok = files.make_scratch_files();
  if (ok) ok = files.make_home(machine);
  if (ok) ok = files.open_read_only_layers(machine);
  if (ok) ok = files.open_modules_disk(machine);
  if (ok) ok = open_into(machine.writable_layer, O_RDWR, top);
  if (!ok) return base::fail(ok.error());
  files.layers.push_back(std::move(top));
  return files;
}

Result<VmStepRunner::Files> VmStepRunner::open_snapshot_files(const Store& store,
                                                              const BuildMachine& machine,
                                                              const SnapshotFiles& snapshot) {
  auto scratch = store.new_entry();
  if (!scratch) return base::fail(scratch.error());
  Files files(std::move(*scratch));
  auto ok = open_into(snapshot.memory, O_RDONLY, files.first);
  if (ok) ok = open_into(snapshot.state, O_RDONLY, files.second);
  if (ok) ok = files.make_scratch_files();
  if (ok) ok = files.make_home(machine);
  if (ok) ok = files.open_read_only_layers(machine);
  if (ok) ok = files.open_modules_disk(machine);
  if (!ok) return base::fail(ok.error());
  auto top = files.scratch.create_file("disk.layer");
  if (!top) return base::fail(top.error());
  files.layers.push_back(std::move(*top));
  return files;
}

Result<std::unique_ptr<BuildGuest>> VmStepRunner::launch(const BuildMachine& machine, Files files,
                                                         wire::Message request,
                                                         const std::vector<int>& fds,
                                                         const Limits& limits) {
  const Shape shape{.memory_bytes = machine.memory_bytes,
                    .vcpus = static_cast<uint16_t>(machine.vcpus),
                    .disks = static_cast<uint16_t>(machine.modules_disk.empty() ? 1 : 2),
                    .nets = machine.nets,
                    .transport = machine.transport};
  const Stopwatch clock;
  auto taken = take_worker(*host_, shape, limits, clock);
  if (!taken) return base::fail(taken.error());
  auto identity = make_identity("build");
  if (!identity) return base::fail(identity.error());
  using Kind = GuestNetwork::Kind;
  identity->network.kind = files.home ? Kind::user : Kind::none;
  const auto* boot = std::get_if<wire::BootRequest>(&request);
  std::string cmdline = boot != nullptr ? boot->cmdline : std::string();
  auto guest = start_guest({.taken = std::move(*taken),
                            .request = std::move(request),
                            .fds = fds,
                            .identity = std::move(*identity),
                            .home = files.home ? files.home.get() : -1,
                            .limits = limits,
                            .clock = clock});
  if (!guest) return base::fail(guest.error());
  const uint64_t boot_us = guest->times.ready_us - guest->times.worker_us;
  return std::make_unique<VmBuildGuest>(host_, std::move(guest->worker), std::move(files.scratch),
                                        std::move(guest->doorbell.stream), boot_us / 1000,
                                        std::move(cmdline));
}

Result<std::unique_ptr<BuildGuest>> VmStepRunner::boot(const BuildMachine& machine,
                                                       const CallLimits& call_limits) {
  const Limits limits(call_limits, kBootLimit);
  auto files = open_boot_files(host_->store, machine);
  if (!files) return base::fail(files.error());
  wire::BootRequest request{.cmdline = cmdline_here(machine.transport),
                            .attachment = attachment(),
                            .disks = files->disk_specs(),
                            .network = files->network()};
  const std::vector<int> fds = wire::pack(files->boot_fds(), request);
  return launch(machine, std::move(*files), std::move(request), fds, limits);
}

Result<std::unique_ptr<BuildGuest>> VmStepRunner::restore(const BuildMachine& machine,
                                                          const SnapshotFiles& snapshot,
                                                          const CallLimits& call_limits) {
  const Limits limits(call_limits, kBootLimit);
  auto files = open_snapshot_files(host_->store, machine, snapshot);
  if (!files) return base::fail(files.error());
  wire::RestoreRequest request{
      .attachment = attachment(), .disks = files->disk_specs(), .network = files->network()};
  const std::vector<int> fds = wire::pack(files->restore_fds(), request);
  return launch(machine, std::move(*files), std::move(request), fds, limits);
}

}  // namespace microvm::host
