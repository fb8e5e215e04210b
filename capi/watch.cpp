// mvm_watch: what happens to files of the guest.
#include "microvm/watch.hpp"

#include "options.hpp"

using microvm::capi::Call;
using microvm::capi::enter;

namespace microvm::capi {

static_assert(MVM_FILE_EVENT_OVERFLOW == value_of(FileEvent::Kind::overflow));

WatchOptions to_cpp(const Call& /*call*/, const mvm_watch_options& given) {
  return {.recursive = given.recursive != 0};
}

void fill(Packer& packer, mvm_file_event& to, const FileEvent& from) {
  to.kind = value_of(from.kind);
  to.path = packer.text(from.path);
  to.old_path = packer.text(from.old_path);
  to.is_directory = from.is_directory ? 1 : 0;
}

}  // namespace microvm::capi

mvm_status mvm_vm_watch(mvm_vm* vm, const char* path, const mvm_watch_options* options,
                        const mvm_limits* limits, mvm_watch** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.handle(out).take(
        call.use(vm)->watch(call.text(path, "path"), call.options(options), call.limits(limits)));
  });
}

mvm_status mvm_watch_next(mvm_watch* watch, const mvm_limits* limits, mvm_file_event** out,
                          mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(watch);
    const auto reading = call.reading(self);
    return call.out(out).take(self->next(call.limits(limits)));
  });
}

mvm_status mvm_watch_try_next(mvm_watch* watch, mvm_file_event** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(watch);
    const auto reading = call.reading(self);
    return call.out(out).take(self->try_next());
  });
}

mvm_status mvm_watch_fd(mvm_watch* watch, int32_t* out, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.set(out, call.use(watch)->fd()); });
}

void mvm_watch_free(mvm_watch* watch) {
  microvm::capi::free_handle(watch);
}
