#include "host/image/builder.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cstdlib>
#include <span>
#include <utility>

#include "host/base/limits.hpp"
#include "host/base/printable.hpp"
#include "host/image/build_plan.hpp"
#include "host/image/builder_steps.hpp"
#include "host/store/file_record.hpp"
#include "host/store/names.hpp"
#include "host/store/rfc3339.hpp"
#include "sys/file.hpp"
#include "wire/shape.hpp"

namespace microvm::host {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMinMemory = 64ull << 20;
constexpr std::chrono::seconds kWarmUpLimit{10};
constexpr const char* kWorkingSetFile = "working_set";
constexpr const char* kAppLayer = "app.layer";

Result<void> check_hooks(const Hooks& hooks) {
  for (const HookKind& kind : kHookKinds) {
    const auto timeout = hooks.*kind.timeout;
    if (timeout.count() < 0 || timeout > kind.longest) {
      return base::fail(ErrorCode::invalid_argument,
                        std::string(kind.name) + " hook: its time must be at most " +
                            std::to_string(kind.longest.count() / 1000) + " s");
    }
    if (kind.is_on(hooks) && hooks.port == 0) {
      return base::fail(ErrorCode::invalid_argument,
                        std::string(kind.name) + " hook: give the port of the hooks");
    }
  }
  return {};
}

Result<void> check_options(const BuildOptions& options) {
  if (!is_image_name(options.tag)) {
    return base::fail(ErrorCode::invalid_argument,
                      "image name \"" + options.tag + "\": use a-z, 0-9, '.', '_', '-' and '/'");
  }
  if (options.memory_bytes < kMinMemory || !wire::is_memory_size(options.memory_bytes)) {
    return base::fail(ErrorCode::invalid_argument,
                      "memory must be a multiple of 2 MiB and at least 64 MiB");
  }
  if (!wire::is_vcpu_count(options.vcpus)) {
    return base::fail(ErrorCode::invalid_argument,
                      "vcpus must be between 1 and " + std::to_string(wire::kMaxVcpus));
  }
  if (options.network.mode == NetworkMode::tap) {
    return base::fail(ErrorCode::invalid_argument,
                      "a build has no tap: its network is user or none");
  }
  return check_hooks(options.hooks);
}

// What the caller gives counts more.
std::map<std::string, std::string> build_arguments(const BuildOptions& options) {
  auto arguments = options.build_args;
  if (!options.host_proxy) return arguments;
  for (const std::string_view name : kProxyVariables) {
    const char* value = std::getenv(std::string(name).c_str());
    if (value != nullptr) arguments.emplace(name, value);
  }
  return arguments;
}

Result<std::string> read_whole(const fs::path& path) {
  const auto bytes = sys::read_file(AT_FDCWD, path.string(), 16 * kMaxDockerfileBytes);
  if (!bytes) return base::fail(bytes.error());
  return std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size());
}

Result<Dockerfile> read_dockerfile(const BuildOptions& options) {
  const fs::path path =
      options.dockerfile.empty() ? options.context / "Dockerfile" : options.dockerfile;
  const auto text = read_whole(path);
  if (!text) return base::fail(text.error());
  return parse_dockerfile(*text, path.string());
}

// Without a command there is nobody to be ready, or to answer.
Result<void> check_app(const BuildOptions& options, const ImageConfig& config) {
  const bool wants_app = options.ready_port != 0 || options.hooks.port != 0;
  if (!wants_app || !image_command(config).empty()) return {};
  return base::fail(ErrorCode::invalid_argument,
                    "no CMD or ENTRYPOINT: nothing would listen on the ready port or answer hooks");
}

// The port whose listener means "ready".
uint16_t ready_port(const BuildOptions& options, const ImageConfig& config) {
  if (kReadyHook.is_on(options.hooks)) return 0;
  if (options.ready_port != 0) return options.ready_port;
  return config.exposed_ports.empty() ? uint16_t{0} : config.exposed_ports.front();
}

class Builder {
 public:
  Builder(const Store& store, StepRunner& runner, const BuildOptions& options,
          const CallLimits& limits)
      : store_(store),
        runner_(runner),
        options_(options),
        may_go_on_(limits, "build " + options.tag) {}

  Result<ImageInfo> build(const Dockerfile& file, const BuildContext& context, BuildPlan plan) {
    auto kernel = store_.open_kernel(options_.kernel);
    if (!kernel) return base::fail(kernel.error());
    auto base_image = store_.open_base(plan.base);
    if (!base_image) {
      return file.error_at(1, "FROM " + plan.base + ": " + base_image.error().message);
    }
    auto entry = store_.new_entry();
    if (!entry) return base::fail(entry.error());
    if (auto chosen = choose_machine(*kernel); !chosen) return base::fail(chosen.error());
    machine_.read_only_layers = {base_image->path(base_image->manifest.disk)};

    manifest_.info.config = std::move(plan.config);
    manifest_.info.config.hooks = options_.hooks;
    if (auto done = run_steps(file, context, plan.steps, *entry); !done) {
      return base::fail(done.error());
    }
    if (auto done = snapshot_app(*entry); !done) return base::fail(done.error());
    describe(*kernel, *base_image);
    auto committed = store_.commit_image(std::move(*entry), manifest_);
    if (!committed) return base::fail(committed.error());
    return committed->info;
  }

 private:
  Result<void> choose_machine(const KernelEntry& kernel) {
    machine_.kernel_dir = kernel.dir;
    machine_.memory_bytes = options_.memory_bytes;
    machine_.vcpus = options_.vcpus;
    if (kernel.manifest.virtio_pci) machine_.transport = wire::TransportKind::pci;
    manifest_.modules_disk = kernel.manifest.modules_disk;
    if (manifest_.modules_disk) machine_.modules_disk = kernel.path(*manifest_.modules_disk);
    machine_.nets = kernel.manifest.virtio_net ? 1 : 0;
    machine_.network = options_.network;
    if (options_.network.mode != NetworkMode::user || machine_.nets != 0) return {};
    return base::fail(ErrorCode::unsupported,
                      "kernel " + kernel.manifest.info.name +
                          " was imported without its driver for networks: remove it and import it "
                          "again, or build without a network");
  }

  Result<void> run_steps(const Dockerfile& file, const BuildContext& context,
                         const std::vector<PlannedStep>& steps, const TempEntry& entry) {
    if (steps.empty()) return {};
    auto guest = boot("steps.layer", entry, "boot the build guest");
    if (!guest) return base::fail(guest.error());
    const StepContext with{file, context, **guest, may_go_on_, options_.progress};
    size_t number = 0;
    for (const PlannedStep& step : steps) {
      if (auto allowed = may_go_on_(); !allowed) return allowed;
      if (auto done = run_step(with, step, ++number, steps.size()); !done) return done;
    }
    if (auto off = (*guest)->power_off(may_go_on_.rest()); !off) return off;
    return finish_layer(entry, "steps.layer");
  }

  Result<std::unique_ptr<BuildGuest>> boot(const std::string& layer, const TempEntry& entry,
                                           const std::string& title) {
    report(title);
    auto created = entry.create_file(layer);
    if (!created) return base::fail(created.error());
    machine_.writable_layer = entry.dir() / layer;
    return runner_.boot(machine_, may_go_on_.rest());
  }

  // The layer takes no more writes: it becomes part of what the next guest stands on.
  Result<void> finish_layer(const TempEntry& entry, const std::string& layer) {
    auto record = record_of(entry.dir(), layer, may_go_on_);
    if (!record) return base::fail(record.error());
    manifest_.layers.push_back(std::move(*record));
    machine_.read_only_layers.push_back(entry.dir() / layer);
    return {};
  }

  Result<void> snapshot_app(const TempEntry& entry) {
    auto guest = boot_app(entry);
    if (!guest) return base::fail(guest.error());
    manifest_.info.boot_ms = (*guest)->boot_ms();
    manifest_.transport = machine_.transport;
    manifest_.nets = machine_.nets;
    manifest_.kernel_cmdline = (*guest)->kernel_cmdline();
    report("snapshot");
    if (auto warm = warm_up(**guest); !warm) return no_snapshot(**guest, warm.error());
    auto memory = entry.create_file("memory");
    auto state = entry.create_file("state");
    if (!memory || !state) return base::fail(!memory ? memory.error() : state.error());
    const auto sizes = (*guest)->snapshot(memory->get(), state->get(), may_go_on_.rest());
    if (!sizes) return no_snapshot(**guest, sizes.error());
    manifest_.info.memory_data_bytes = sizes->memory_data_bytes;
    guest->reset();
    if (auto layer = finish_layer(entry, kAppLayer); !layer) return layer;
    if (auto recorded = record_snapshot(entry); !recorded) return recorded;
    return try_snapshot(entry);
  }

  // A guest in which the app runs, if the image has one. A guest ends with its command: where that
  // has ended there is another one, of a disk on which it has left nothing.
  Result<std::unique_ptr<BuildGuest>> boot_app(const TempEntry& entry) {
    auto guest = boot(kAppLayer, entry, "boot the image");
    manifest_.info.has_app = !image_command(manifest_.info.config).empty();
    if (!guest || !manifest_.info.has_app) return guest;
    const auto runs = start_app(**guest);
    if (!runs) return base::fail(runs.error());
    if (*runs) return guest;
    manifest_.info.has_app = false;
    guest->reset();
    std::error_code ec;
    fs::remove(entry.dir() / kAppLayer, ec);
    return boot(kAppLayer, entry,
                "notice: " + command_text() +
                    " has ended with exit code 0: the image has no running app, and its microVMs "
                    "live until they are ended; boot it without");
  }

  // False: the command ended with success at once, and nobody asked for an app.
  Result<bool> start_app(BuildGuest& guest) {
    const ImageConfig& config = manifest_.info.config;
    manifest_.ready_port = ready_port(options_, config);
    report("start " + image_command(config).front());
    const StepCommand command{image_command(config), config.env, config.workdir, config.user, {}};
    if (auto started = guest.start(command, may_go_on_.rest()); !started) {
      return base::fail(started.error());
    }
    if (auto ready = wait_ready(guest); !ready) {
      return app_failed("the app did not become ready", guest, ready.error());
    }
    if (manifest_.ready_port != 0 || kReadyHook.is_on(options_.hooks)) return true;
    const auto end = guest.settle(may_go_on_.rest());
    if (!end) return base::fail(end.error());
    if (!*end) return true;
    if (is_success(**end) && options_.hooks.port == 0) return false;
    return command_failed(guest, **end);
  }

  base::Failure command_failed(BuildGuest& guest, const StepOutcome& end) const {
    return app_failed(
        command_text(), guest,
        {ErrorCode::build_failed, how_it_ended(end) + ", and a microVM ends with its app"});
  }

  // The command may have ended after it was taken to run, and its guest with it.
  base::Failure no_snapshot(BuildGuest& guest, const Error& error) const {
    if (const auto end = guest.command_end()) return command_failed(guest, *end);
    return base::fail(error);
  }

  [[nodiscard]] std::string command_text() const {
    return "the command \"" + printable(image_command(manifest_.info.config).front()) + "\"";
  }

  Result<void> wait_ready(BuildGuest& guest) {
    if (kReadyHook.is_on(options_.hooks)) return wait_ready_hook(guest, options_.hooks);
    if (manifest_.ready_port == 0) return {};
    report("wait for port " + std::to_string(manifest_.ready_port));
    return guest.wait_port(manifest_.ready_port, options_.ready_timeout, may_go_on_.rest());
  }

  // First for somebody who listens: the agent notices when the app ends instead.
  Result<void> wait_ready_hook(BuildGuest& guest, Hooks hooks) {
    using Clock = std::chrono::steady_clock;
    report("wait for the ready hook");
    const auto begin = Clock::now();
    auto listens = guest.wait_port(hooks.port, hooks.ready, may_go_on_.rest());
    if (!listens) return listens;
    hooks.ready -= std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin);
    hooks.ready = std::max(hooks.ready, std::chrono::milliseconds(1));
    return guest.call_hook(hooks, kReadyHook, may_go_on_.rest());
  }

  // What the app did or did not do is the build's fault. The caller's time or the host's disk stay
  // theirs.
  base::Failure app_failed(const std::string& what, BuildGuest& guest, const Error& error) const {
    if (error.code == ErrorCode::cancelled) return base::fail(error);
    std::string message = what + ": " + error.message;
    if (const std::string log = guest.app_log(); !log.empty())
      message += "; its last output:\n" + log;
    ErrorCode code = error.code == ErrorCode::out_of_disk ? error.code : ErrorCode::build_failed;
    if (const auto allowed = may_go_on_(); !allowed) code = allowed.error().code;
    return base::fail(code, std::move(message));
  }

  // One program is started as an exec in a clone would be: what that needs of the agent, the kernel
  // and the disk is then in the snapshot's memory. How the program ends does not matter, an image
  // may have none of that name.
  Result<void> warm_up(BuildGuest& guest) {
    if (auto dropped = guest.drop_caches(may_go_on_.rest()); !dropped) return dropped;
    return run_any_program(guest);
  }

  Result<void> run_any_program(BuildGuest& guest) {
    const ImageConfig& config = manifest_.info.config;
    const StepCommand command{{"true"}, config.env, config.workdir, config.user, kWarmUpLimit};
    const auto ended = guest.run(command, {}, may_go_on_.rest());
    if (!ended) return base::fail(ended.error());
    return {};
  }

  // A snapshot is an image only once a clone of it was ready. What that clone touched until its
  // first program had run is what the next ones need first.
  Result<void> try_snapshot(const TempEntry& entry) {
    report("try the snapshot");
    auto guest = runner_.restore(machine_, {entry.dir() / "memory", entry.dir() / "state"},
                                 may_go_on_.rest());
    if (!guest) return unusable(guest.error());
    if (auto ran = run_any_program(**guest); !ran) {
      return app_failed("the snapshot does not start", **guest, ran.error());
    }
    if (auto recorded = record_working_set(**guest, entry); !recorded) return recorded;
    return validate(**guest);
  }

  Result<void> record_working_set(BuildGuest& guest, const TempEntry& entry) {
    const auto file = entry.create_file(kWorkingSetFile);
    if (!file) return base::fail(file.error());
    const auto recorded = guest.record_working_set(file->get(), may_go_on_.rest());
    if (!recorded && recorded.error().code == ErrorCode::unsupported) {
      std::error_code ec;
      fs::remove(entry.dir() / kWorkingSetFile, ec);
      return {};
    }
    if (!recorded) return unusable(recorded.error());
    auto record = record_of(entry.dir(), kWorkingSetFile, may_go_on_);
    if (!record) return base::fail(record.error());
    manifest_.working_set = std::move(*record);
    return {};
  }

  // In the same clone: what it does to that comes after the record.
  Result<void> validate(BuildGuest& guest) {
    if (!kValidateHook.is_on(options_.hooks)) return {};
    report("validate");
    auto valid = guest.call_hook(options_.hooks, kValidateHook, may_go_on_.rest());
    if (valid) return valid;
    return app_failed("the snapshot is not valid", guest, valid.error());
  }

  static base::Failure unusable(const Error& error) {
    const ErrorCode code = error.code;
    if (code == ErrorCode::cancelled || code == ErrorCode::deadline_exceeded ||
        code == ErrorCode::out_of_disk) {
      return base::fail(error);
    }
    return base::fail(ErrorCode::build_failed, "the snapshot does not start: " + error.message);
  }

  Result<void> record_snapshot(const TempEntry& entry) {
    auto memory = record_of(entry.dir(), "memory", may_go_on_);
    auto state = record_of(entry.dir(), "state", may_go_on_);
    if (!memory || !state) return base::fail(!memory ? memory.error() : state.error());
    manifest_.memory = std::move(*memory);
    manifest_.state = std::move(*state);
    manifest_.memory_raw_bytes = manifest_.memory.size_bytes;
    return {};
  }

  void describe(const KernelEntry& kernel, const BaseEntry& base_image) {
    ImageInfo& info = manifest_.info;
    info.name = options_.tag;
    info.created = rfc3339_now();
    info.base = base_image.manifest.info.name;
    info.kernel = kernel.manifest.info.name;
    info.memory_bytes = options_.memory_bytes;
    info.vcpus = options_.vcpus;
    for (const FileRecord& layer : manifest_.layers) info.disk_data_bytes += layer.data_bytes;
    manifest_.kernel_digest = kernel.manifest.info.digest;
    manifest_.base_digest = base_image.manifest.info.digest;
    manifest_.disk_bytes = base_image.manifest.disk.size_bytes;
  }

  void report(const std::string& step) const {
    if (options_.progress) options_.progress({.step = step, .done = 0, .total = 0, .output = {}});
  }

  const Store& store_;
  StepRunner& runner_;
  const BuildOptions& options_;
  const CallCheck may_go_on_;  // counts from the beginning of the build, not of each step
  BuildMachine machine_;
  ImageManifest manifest_;
};

}  // namespace

Result<ImageInfo> build_image(const Store& store, StepRunner& runner, const BuildOptions& options,
                              const CallLimits& limits) {
  if (auto checked = check_options(options); !checked) return base::fail(checked.error());
  const auto file = read_dockerfile(options);
  if (!file) return base::fail(file.error());
  const auto context = BuildContext::open(options.context);
  if (!context) return base::fail(context.error());
  auto plan = plan_build(*file, *context, build_arguments(options));
  if (!plan) return base::fail(plan.error());
  if (auto checked = check_app(options, plan->config); !checked) return base::fail(checked.error());
  return Builder(store, runner, options, limits).build(*file, *context, std::move(*plan));
}

}  // namespace microvm::host
