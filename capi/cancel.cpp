// mvm_cancel: what cuts calls short from elsewhere.
#include "call.hpp"

namespace capi = microvm::capi;
using microvm::CancelToken;
using microvm::Result;
using microvm::capi::Call;
using microvm::capi::enter;

mvm_status mvm_cancel_new(mvm_cancel** out, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.handle(out).take(CancelToken()); });
}

// Perhaps in a signal handler: nothing is allocated, locked or freed.
mvm_status mvm_cancel_fire(mvm_cancel* cancel) {
  const capi::Handle handle = capi::number_of(cancel);
  auto* object = static_cast<capi::Object<mvm_cancel>*>(
      capi::handle_table().acquire(handle, capi::Kind::cancel));
  if (object == nullptr) return MVM_INVALID_ARGUMENT;
  object->value->cancel();
  capi::handle_table().release_in_signal(handle);
  return MVM_OK;
}

mvm_bool mvm_cancel_fired(mvm_cancel* cancel) {
  const capi::Held<mvm_cancel> held(cancel);
  return held && held->cancelled() ? 1 : 0;
}

mvm_status mvm_cancel_fd(mvm_cancel* cancel, int32_t* out, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.set(out, call.use(cancel)->fd()); });
}

void mvm_cancel_free(mvm_cancel* cancel) {
  capi::free_handle(cancel);
}
