#include "host/vm/new_vm.hpp"

#include <unistd.h>

#include "host/network/setup_file.hpp"
#include "host/network/user_network.hpp"
#include "host/store/json_fields.hpp"
#include "host/store/rfc3339.hpp"
#include "sys/file.hpp"

namespace microvm::host {
namespace {

VmRecord make_record(const NewVmDirectory& directory, const ImageInfo& image,
                     const RunOptions& options, const Identity& identity,
                     const VmNetwork& network) {
  VmRecord record;
  record.id = directory.id();
  record.name = options.name;
  record.image = image.name + ":" + image.version;
  record.created = rfc3339_now();
  record.memory_bytes = image.memory_bytes;
  record.vcpus = image.vcpus;
  record.dies_with_owner = options.dies_with_owner;
  record.hostname = identity.hostname;
  record.machine_id = identity.machine_id;
  record.boot_id = identity.boot_id;
  record.idle = options.idle;
  record.network = network;
  return record;
}

Result<void> write_records(NewVmDirectory& directory, const VmRecord& record, const VmRun& run,
                           const wire::NetworkSetup& setup) {
  auto written = directory.write_record(record);
  if (written) written = write_run(directory.path(), run);
  const bool has_policy = record.network.mode == NetworkMode::user;
  if (written && has_policy) written = write_new_setup(directory.path(), setup);
  return written;
}

Result<void> link_layers(const NewVmOrigin& origin, const std::filesystem::path& dir) {
  for (const std::string& name : origin.layers) {
    if (::link((origin.layer_dir / name).c_str(), (dir / name).c_str()) != 0) {
      return base::fail_errno("link " + (origin.layer_dir / name).string());
    }
  }
  return {};
}

Result<StartPoint> make_point(const NewVmOrigin& origin, const std::filesystem::path& dir) {
  StartPoint point;
  for (const int overlay : origin.overlays) {
    auto copy = sys::duplicate(overlay, "keep a file of the state");
    if (!copy) return base::fail(copy.error());
    point.overlays.push_back(std::move(*copy));
  }
  if (origin.state >= 0) {
    auto copy = sys::duplicate(origin.state, "keep a file of the state");
    if (!copy) return base::fail(copy.error());
    point.state = std::move(*copy);
  }
  if (auto ok = link_layers(origin, dir); !ok) return base::fail(ok.error());
  auto layers = open_layers(dir, origin.layers);
  if (!layers) return base::fail(layers.error());
  point.layers = std::move(*layers);
  return point;
}

Result<void> check_payload(const ImageInfo& image, const std::string& payload) {
  constexpr const char* kWhat = "the payload of the run hook";
  if (payload.empty()) return {};
  if (payload.size() > kMaxRunHookPayloadBytes) {
    return base::fail(ErrorCode::invalid_argument, std::string(kWhat) + " has more than 64 KiB");
  }
  if (!kRunHook.is_on(image.config.hooks)) {
    return base::fail(ErrorCode::invalid_argument, "image " + image.name + ":" + image.version +
                                                       " has no run hook to give a payload to");
  }
  if (const auto text = dump_json(payload, kWhat); !text) return base::fail(text.error());
  return {};
}

Result<base::Fd> tap_of(const VmNetwork& network, const TapOptions& options) {
  if (network.mode != NetworkMode::tap) return base::Fd();
  return network.tap.empty() ? adopt_tap(options.fd) : open_tap(network.tap);
}

// Where it is asked for, and not only what there is by default: then it is in the way of nothing
// that the guest does without it.
Result<void> check_network_here(Core& core, NetworkMode asked) {
  if (asked != NetworkMode::user || core.has_user_network) return {};
  if (auto ok = check_user_network(try_user_network()); !ok) return ok;
  core.has_user_network = true;
  return {};
}

// Others find it and reach its guest only when the hold is gone.
struct Launched {
  std::shared_ptr<Vm::Impl> vm;
  ChangeHold hold;
};

// All but the run hook.
Result<Launched> launch(const std::shared_ptr<Core>& core, const NewVm& what) {
  const NewVmOrigin& origin = what.origin;
  const RunOptions& options = what.options;
  const ImageManifest& manifest = what.image.image.manifest;
  if (auto ok = check_payload(manifest.info, options.run_hook_payload); !ok) {
    return base::fail(ok.error());
  }
  if (auto ok = check_policy(options.idle); !ok) return base::fail(ok.error());
  const Shape shape = shape_of(manifest);
  const auto network = choose_network(options.network, shape.nets != 0,
                                      manifest.info.name + ":" + manifest.info.version);
  if (!network) return base::fail(network.error());
  if (auto ok = check_network_here(*core, options.network.mode); !ok) {
    return base::fail(ok.error());
  }
  auto tap = tap_of(network->network, options.network.tap);
  if (!tap) return base::fail(tap.error());
  if (core->pool_size > 0) core->pool->keep(shape, core->pool_size);
  auto taken = take_worker(*core, shape, what.starting, what.clock);
  if (!taken) return base::fail(taken.error());

  auto directory = NewVmDirectory::create(core->store, options.name);
  if (!directory) return base::fail(directory.error());
  auto hold = hold_change(directory->path(), what.starting, "run");
  if (!hold) return base::fail(hold.error());
  auto identity = make_identity(options.name.empty() ? directory->id() : options.name);
  if (!identity) return base::fail(identity.error());
  auto point = make_point(origin, directory->path());
  if (!point) return base::fail(point.error());
  const auto number = next_file_number(directory->path());
  if (!number) return base::fail(number.error());
  VmRun run{.worker_pid = taken->worker.pid(), .layers = origin.layers, .pages = {}};
  run.layers.push_back(numbered_file(VmFileKind::layer, *number));
  run.pages_known = origin.overlays.empty();
  auto files = directory->make_files(run.layers.back());
  if (!files) return base::fail(files.error());
  const VmRecord record =
      make_record(*directory, manifest.info, options, *identity, network->network);
  if (auto ok = write_records(*directory, record, run, network->setup); !ok) {
    return base::fail(ok.error());
  }
  what.clock.mark("the microvm's files made");

  auto started = start_worker(*core, {.what = "run",
                                      .taken = std::move(*taken),
                                      .record = record,
                                      .image = what.image,
                                      .point = *point,
                                      .files = std::move(*files),
                                      .tap = tap->get(),
                                      .identity = std::move(*identity),
                                      .limits = what.starting,
                                      .clock = what.clock});
  if (!started) return base::fail(started.error());
  if (what.clock.trace()) what.clock.trace()->call_it(record.id);
  auto vm = make_at_home<Vm::Impl>(core, record, manifest.info.config);
  // One that has a name is opened anew.
  if (network->network.tap.empty()) vm->keep_tap(std::move(*tap));
  vm->keep_change_hold(*hold);
  directory->keep();
  vm->own(std::move(*started), what.clock.trace());
  return Launched{std::move(vm), std::move(*hold)};
}

}  // namespace

Result<std::shared_ptr<Vm::Impl>> start_new_vm(const std::shared_ptr<Core>& core,
                                               const NewVm& what) {
  const auto launched = launch(core, what);
  if (!launched) return base::fail(launched.error());
  auto begun = launched->vm->begin_run(what.options.run_hook_payload, what.whole, what.clock);
  if (!begun) return base::fail(begun.error());
  what.clock.mark("the call returns");
  return launched->vm;
}

}  // namespace microvm::host
