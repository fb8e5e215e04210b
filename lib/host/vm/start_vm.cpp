#include "host/vm/start_vm.hpp"

#include <fcntl.h>

#include "host/saved/layer_checks.hpp"
#include "host/saved/saved_pages.hpp"
#include "host/store/files.hpp"
#include "host/store/image_files.hpp"
#include "host/vm/new_vm.hpp"

namespace microvm::host {

Result<void> verify_image(const Store& store, const std::string& reference,
                          const CallLimits& limits) {
  const auto files = open_image_files(store, reference, Limits(limits));
  if (!files) return base::fail(files.error());
  return {};
}

Result<std::shared_ptr<Vm::Impl>> start_vm(const std::shared_ptr<Core>& core,
                                           const std::string& image, const RunOptions& options,
                                           const CallLimits& call_limits) {
  const Stopwatch clock(core->trace_start("run " + image));
  const Limits whole(call_limits);
  // The first time reads the whole image, however large it is: not part of the guest's time.
  const auto files = open_image_files(core->store, image, whole);
  if (!files) return base::fail(files.error());
  clock.mark("the image's files opened");
  const Limits limits(call_limits, options.start_timeout);
  return start_new_vm(core, {.image = *files,
                             .origin = {},
                             .options = options,
                             .starting = limits,
                             .whole = whole,
                             .clock = clock});
}

Result<std::shared_ptr<Vm::Impl>> start_checkpoint(const std::shared_ptr<Core>& core,
                                                   const Checkpoint& checkpoint,
                                                   const RunOptions& options,
                                                   const CallLimits& call_limits) {
  const Stopwatch clock(core->trace_start("run " + checkpoint.info.id));
  const Limits whole(call_limits);
  const auto files = open_image_files(core->store, checkpoint.info.image, whole);
  if (!files) return base::fail(files.error());
  const auto pages = expand_pages(checkpoint.dir, checkpoint.saved, checkpoint.info.memory_bytes);
  if (!pages) return base::fail(pages.error());
  const auto state = open_file(checkpoint.dir / checkpoint.saved.state, O_RDONLY | O_NOFOLLOW);
  if (!state) return base::fail(state.error());
  if (auto ok = verify_layers(checkpoint.dir, checkpoint.saved, whole); !ok) {
    return base::fail(ok.error());
  }
  const NewVmOrigin origin{.layer_dir = checkpoint.dir,
                           .layers = checkpoint.saved.layers,
                           .overlays = {pages->get()},
                           .state = state->get()};
  const Limits limits(call_limits, options.start_timeout);
  return start_new_vm(core, {.image = *files,
                             .origin = origin,
                             .options = options,
                             .starting = limits,
                             .whole = whole,
                             .clock = clock});
}

Result<std::shared_ptr<Vm::Impl>> attach_vm(const std::shared_ptr<Core>& core,
                                            const std::string& id_or_name) {
  const auto id = resolve_vm(core->store, id_or_name);
  if (!id) return base::fail(id.error());
  const auto record = read_record(core->store.vm_dir(*id));
  if (!record) return base::fail(record.error());
  ImageConfig config;
  const auto image = core->store.open_image(record->image);
  if (image) config = image->manifest.info.config;
  if (!image && image.error().code == ErrorCode::unsupported) return base::fail(image.error());
  return make_at_home<Vm::Impl>(core, *record, std::move(config));
}

}  // namespace microvm::host
