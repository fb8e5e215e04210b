// Runtime: the public root object over store, builder, worker pool and Vms.
#include "microvm/runtime.hpp"

#include <algorithm>
#include <utility>

#include "host/event_stream.hpp"
#include "host/image/base_import.hpp"
#include "host/image/builder.hpp"
#include "host/image/kernel_import.hpp"
#include "host/image/pack_image.hpp"
#include "host/prune.hpp"
#include "host/saved/checkpoints.hpp"
#include "host/saved/vm_directory.hpp"
#include "host/vm/core.hpp"
#include "host/vm/start_vm.hpp"
#include "host/worker/build_guest.hpp"
#include "sys/file.hpp"

namespace microvm {

struct [[gnu::visibility("hidden")]] Runtime::Impl {
  explicit Impl(std::shared_ptr<host::Core> shared) : core(std::move(shared)) {}
  ~Impl() { core->end(); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  template <class Item>
  void log_damaged(const host::Listing<Item>& listing) const;
  template <class Manifest>
  auto infos(const host::Listing<Manifest>& listing) const;

  const std::shared_ptr<host::Core> core;
};

template <class Item>
void Runtime::Impl::log_damaged(const host::Listing<Item>& listing) const {
  for (const Error& damaged : listing.damaged) core->log(damaged.message);
}

template <class Manifest>
auto Runtime::Impl::infos(const host::Listing<Manifest>& listing) const {
  log_damaged(listing);
  std::vector<decltype(Manifest::info)> infos;
  for (const Manifest& item : listing.items) infos.push_back(item.info);
  return infos;
}

Runtime::Runtime(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Runtime::Runtime(Runtime&&) noexcept = default;
Runtime& Runtime::operator=(Runtime&&) noexcept = default;
Runtime::~Runtime() = default;

Result<Runtime> Runtime::open(const RuntimeOptions& options, const CallLimits& limits) {
  auto core = host::Core::open(options, host::Limits(limits));
  if (!core) return base::fail(core.error());
  return Runtime(host::make_at_home<Impl>(std::move(*core)));
}

const std::filesystem::path& Runtime::data_dir() const noexcept {
  return impl_->core->store.data_dir();
}

Result<KernelInfo> Runtime::import_kernel(const std::filesystem::path& deb,
                                          const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  return host::import_kernel(impl_->core->store, deb, limits);
}

Result<std::vector<KernelInfo>> Runtime::kernels(const CallLimits& limits) const {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const auto listing = impl_->core->store.kernels(host::CallCheck(limits, "list kernels"));
  if (!listing) return base::fail(listing.error());
  return impl_->infos(*listing);
}

Result<void> Runtime::remove_kernel(const std::string& name_or_digest, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const host::CallCheck check(limits, "remove kernel " + name_or_digest);
  if (auto ok = check(); !ok) return ok;
  return impl_->core->store.remove_kernel(name_or_digest, check);
}

Result<BaseInfo> Runtime::import_base(const std::string& name, const std::filesystem::path& tar,
                                      const ImportBaseOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  return host::import_base(impl_->core->store, {name, tar, options.disk_bytes, options.progress},
                           limits);
}

Result<std::vector<BaseInfo>> Runtime::bases(const CallLimits& limits) const {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const auto listing = impl_->core->store.bases(host::CallCheck(limits, "list bases"));
  if (!listing) return base::fail(listing.error());
  return impl_->infos(*listing);
}

Result<void> Runtime::remove_base(const std::string& name, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const host::CallCheck check(limits, "remove base " + name);
  if (auto ok = check(); !ok) return ok;
  return impl_->core->store.remove_base(name, check);
}

Result<ImageInfo> Runtime::build(const BuildOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const host::Limits whole(limits);
  host::VmStepRunner runner(impl_->core);
  auto image = host::build_image(impl_->core->store, runner, options, whole.rest());
  if (!image) return image;
  const std::string reference = image->name + ":" + image->version;
  auto verified = host::verify_image(impl_->core->store, reference, whole.rest());
  // The image is there and whole; a later launch reads it again.
  if (!verified) impl_->core->log(verified.error().message);
  return image;
}

Result<std::vector<ImageInfo>> Runtime::images(const CallLimits& limits) const {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const auto listing = impl_->core->store.images(host::CallCheck(limits, "list images"));
  if (!listing) return base::fail(listing.error());
  return impl_->infos(*listing);
}

Result<ImageInfo> Runtime::image(const std::string& reference, const CallLimits& limits) const {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const host::CallCheck check(limits, "look at image " + reference);
  if (auto ok = check(); !ok) return base::fail(ok.error());
  const auto entry = impl_->core->store.open_image(reference);
  if (!entry) return base::fail(entry.error());
  return entry->manifest.info;
}

Result<void> Runtime::remove_image(const std::string& reference, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const host::CallCheck check(limits, "remove image " + reference);
  if (auto ok = check(); !ok) return ok;
  const auto info = image(reference, check.rest());
  if (!info) return base::fail(info.error());
  const std::string version = info->name + ":" + info->version;
  impl_->core->owned.drop_ended();
  const auto unused = [&] { return host::check_image_unused(impl_->core->store, version); };
  // First without the image's lock: it says who needs it, where the lock says that somebody does.
  if (auto ok = unused(); !ok) return ok;
  return impl_->core->store.remove_image(version, unused, check);
}

Result<PruneReport> Runtime::prune(const PruneOptions& options, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  impl_->core->owned.drop_ended();
  return host::prune(impl_->core->store, options, host::kOrphanAge,
                     host::CallCheck(limits, "prune"));
}

Result<ImageInfo> Runtime::pack_image(const std::string& reference, const PackOptions& options,
                                      const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  return host::pack_image(impl_->core->store, reference, options.progress, limits);
}

Result<ImageInfo> Runtime::unpack_image(const std::string& reference, const PackOptions& options,
                                        const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  return host::unpack_image(impl_->core->store, reference, options.progress, limits);
}

namespace {

using StartedVm = Result<std::shared_ptr<Vm::Impl>>;

StartedVm run_image(const std::shared_ptr<host::Core>& core, const std::string& image,
                    const RunOptions& options, const CallLimits& limits) {
  auto vm = host::start_vm(core, image, options, limits);
  if (vm) core->owned.adopt(*vm);
  return vm;
}

StartedVm run_from_checkpoint(const std::shared_ptr<host::Core>& core,
                              const std::string& id_or_name, const RunOptions& options,
                              const CallLimits& limits) {
  const auto checkpoint = host::open_checkpoint(core->store, id_or_name);
  if (!checkpoint) return base::fail(checkpoint.error());
  auto vm = host::start_checkpoint(core, *checkpoint, options, limits);
  if (vm) core->owned.adopt(*vm);
  return vm;
}

Result<Vm> to_vm(StartedVm started) {
  if (!started) return base::fail(started.error());
  return Vm(std::move(*started));
}

// For a start that goes on behind the call: the caller's fd is borrowed only until that returns.
struct LaterRun {
  static Result<LaterRun> of(const RunOptions& options) {
    LaterRun run{options, {}};
    if (options.network.tap.fd < 0) return run;
    auto tap = sys::duplicate(options.network.tap.fd, "keep the tap");
    if (!tap) return base::fail(tap.error());
    run.options.network.tap.fd = tap->get();
    run.tap = std::make_shared<base::Fd>(std::move(*tap));
    return run;
  }
  RunOptions options;
  std::shared_ptr<base::Fd> tap;
};

Result<VmStart> begin_start(host::Core& core, host::VmStarts::Work work) {
  auto start = core.starts.add(std::move(work));
  if (!start) return base::fail(start.error());
  return VmStart(std::move(*start));
}

}  // namespace

Result<Vm> Runtime::run(const std::string& image, const RunOptions& options,
                        const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  return to_vm(run_image(impl_->core, image, options, limits));
}

Result<VmStart> Runtime::start(const std::string& image, const RunOptions& options) {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
  auto run = LaterRun::of(options);
  if (!run) return base::fail(run.error());
  return begin_start(*impl_->core,
                     [core = impl_->core, image, run = std::move(*run)](const CallLimits& limits) {
                       return run_image(core, image, run.options, limits);
                     });
}

Result<std::vector<VmInfo>> Runtime::vms(const CallLimits& limits) const {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const host::CallCheck check(limits, "list microvms");
  impl_->core->owned.drop_ended();
  const auto ids = impl_->core->store.vm_ids();
  if (!ids) return base::fail(ids.error());
  std::vector<VmInfo> infos;
  for (const std::string& id : *ids) {
    if (auto ok = check(); !ok) return base::fail(ok.error());
    if (const auto vm = impl_->core->owned.find(id)) {
      infos.push_back(vm->info());
    } else if (const auto info = host::describe_vm(impl_->core->store, id)) {
      infos.push_back(*info);
    }
  }
  std::ranges::sort(infos, {}, &VmInfo::created);
  return infos;
}

Result<Vm> Runtime::attach(const std::string& id_or_name, const CallLimits& limits) const {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const host::CallCheck check(limits, "attach to microvm " + id_or_name);
  if (auto ok = check(); !ok) return base::fail(ok.error());
  const auto id = host::resolve_vm(impl_->core->store, id_or_name);
  if (!id) return base::fail(id.error());
  if (auto vm = impl_->core->owned.find(*id)) return Vm(std::move(vm));
  auto vm = host::attach_vm(impl_->core, *id);
  if (!vm) return base::fail(vm.error());
  return Vm(std::move(*vm));
}

Result<void> Runtime::remove_vm(const std::string& id_or_name, const CallLimits& call_limits) {
  if (auto ok = impl_->core->home.check(call_limits); !ok) return base::fail(ok.error());
  const host::Limits limits(call_limits);
  if (auto ok = limits.check("remove microvm " + id_or_name); !ok) return ok;
  const auto id = host::resolve_vm(impl_->core->store, id_or_name);
  if (!id) return base::fail(id.error());
  auto vm = impl_->core->owned.find(*id);
  if (!vm) {
    auto attached = host::attach_vm(impl_->core, *id);
    // What a newer library made may run: that one ends it. Without a readable record nothing can.
    if (!attached && attached.error().code == ErrorCode::unsupported) {
      return base::fail(attached.error());
    }
    if (!attached) return host::remove_vm(impl_->core->store, *id);
    vm = std::move(*attached);
  }
  auto removed = vm->remove(limits);
  if (removed) impl_->core->owned.forget(*id);
  return removed;
}

Result<std::vector<CheckpointInfo>> Runtime::checkpoints(const CallLimits& limits) const {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  auto listing =
      host::list_checkpoints(impl_->core->store, host::CallCheck(limits, "list checkpoints"));
  if (!listing) return base::fail(listing.error());
  impl_->log_damaged(*listing);
  return std::move(listing->items);
}

Result<Vm> Runtime::run_checkpoint(const std::string& id_or_name, const RunOptions& options,
                                   const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  return to_vm(run_from_checkpoint(impl_->core, id_or_name, options, limits));
}

Result<VmStart> Runtime::start_checkpoint(const std::string& id_or_name,
                                          const RunOptions& options) {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
  auto run = LaterRun::of(options);
  if (!run) return base::fail(run.error());
  return begin_start(*impl_->core, [core = impl_->core, id_or_name,
                                    run = std::move(*run)](const CallLimits& limits) {
    return run_from_checkpoint(core, id_or_name, run.options, limits);
  });
}

Result<ImageInfo> Runtime::commit(const std::string& checkpoint, const std::string& image_name,
                                  const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const auto found = host::open_checkpoint(impl_->core->store, checkpoint);
  if (!found) return base::fail(found.error());
  return host::commit_image_of(impl_->core->store, *found, image_name, limits);
}

Result<void> Runtime::remove_checkpoint(const std::string& id_or_name, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  return host::remove_checkpoint(impl_->core->store, id_or_name, limits);
}

Result<EventStream> Runtime::events(const EventOptions& options, const CallLimits& limits) const {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  if (auto ok = host::Limits(limits).check("read the events"); !ok) return base::fail(ok.error());
  return host::open_events(impl_->core->store.data_dir(), impl_->core->watches, options);
}

Result<void> Runtime::warm(const std::string& image, uint32_t count, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  const auto entry = impl_->core->store.open_image(image);
  if (!entry) return base::fail(entry.error());
  const host::Shape shape = host::shape_of(entry->manifest);
  impl_->core->pool->keep(shape, count);
  return impl_->core->pool->fill(shape, host::Limits(limits));
}

}  // namespace microvm
