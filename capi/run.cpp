// mvm_runtime: Vms and checkpoints, how they are started and found.
#include "infos.hpp"
#include "options.hpp"

using microvm::capi::Call;
using microvm::capi::enter;

mvm_status mvm_runtime_run(mvm_runtime* runtime, const char* image, const mvm_run_options* options,
                           const mvm_limits* limits, mvm_vm** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.handle(out).take(call.use(runtime)->run(
        call.text(image, "image"), call.options(options), call.limits(limits)));
  });
}

mvm_status mvm_runtime_vms(mvm_runtime* runtime, const mvm_limits* limits, mvm_vm_list** out,
                           mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out(out).take(call.use(runtime)->vms(call.limits(limits)));
  });
}

mvm_status mvm_runtime_attach(mvm_runtime* runtime, const char* id_or_name,
                              const mvm_limits* limits, mvm_vm** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.handle(out).take(
        call.use(runtime)->attach(call.text(id_or_name, "id_or_name"), call.limits(limits)));
  });
}

mvm_status mvm_runtime_remove_vm(mvm_runtime* runtime, const char* id_or_name,
                                 const mvm_limits* limits, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(runtime)->remove_vm(call.text(id_or_name, "id_or_name"), call.limits(limits));
  });
}

mvm_status mvm_runtime_checkpoints(mvm_runtime* runtime, const mvm_limits* limits,
                                   mvm_checkpoint_list** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out(out).take(call.use(runtime)->checkpoints(call.limits(limits)));
  });
}

mvm_status mvm_runtime_run_checkpoint(mvm_runtime* runtime, const char* id_or_name,
                                      const mvm_run_options* options, const mvm_limits* limits,
                                      mvm_vm** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.handle(out).take(call.use(runtime)->run_checkpoint(
        call.text(id_or_name, "id_or_name"), call.options(options), call.limits(limits)));
  });
}

mvm_status mvm_runtime_commit(mvm_runtime* runtime, const char* checkpoint, const char* image_name,
                              const mvm_limits* limits, mvm_image_info** out_or_null,
                              mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out_or_null(out_or_null)
        .take(call.use(runtime)->commit(call.text(checkpoint, "checkpoint"),
                                        call.text(image_name, "image_name"), call.limits(limits)));
  });
}

mvm_status mvm_runtime_remove_checkpoint(mvm_runtime* runtime, const char* id_or_name,
                                         const mvm_limits* limits, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(runtime)->remove_checkpoint(call.text(id_or_name, "id_or_name"),
                                                call.limits(limits));
  });
}
