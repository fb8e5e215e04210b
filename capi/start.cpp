// mvm_vm_start: Vms that are being started.
#include "microvm/vm_start.hpp"

#include "options.hpp"

using microvm::Result;
using microvm::capi::Call;
using microvm::capi::enter;

mvm_status mvm_runtime_start(mvm_runtime* runtime, const char* image,
                             const mvm_run_options* options, mvm_vm_start** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.handle(out).take(
        call.use(runtime)->start(call.text(image, "image"), call.options(options)));
  });
}

mvm_status mvm_runtime_start_checkpoint(mvm_runtime* runtime, const char* id_or_name,
                                        const mvm_run_options* options, mvm_vm_start** out,
                                        mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.handle(out).take(call.use(runtime)->start_checkpoint(
        call.text(id_or_name, "id_or_name"), call.options(options)));
  });
}

mvm_status mvm_vm_start_take(mvm_vm_start* start, const mvm_limits* limits, mvm_vm** out,
                             mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.handle(out).take(call.use(start)->take(call.limits(limits)));
  });
}

mvm_status mvm_vm_start_try_take(mvm_vm_start* start, mvm_vm** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.handle(out).take(call.use(start)->try_take());
  });
}

mvm_status mvm_vm_start_fd(mvm_vm_start* start, int32_t* out, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.set(out, call.use(start)->fd()); });
}

mvm_status mvm_vm_start_cancel(mvm_vm_start* start, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) -> Result<void> {
    call.use(start)->cancel();
    return {};
  });
}

void mvm_vm_start_free(mvm_vm_start* start) {
  microvm::capi::free_handle(start);
}
