// mvm_event_stream and mvm_log_stream: what happens to Vms, what they print.
#include "infos.hpp"
#include "microvm/event.hpp"
#include "microvm/log_stream.hpp"
#include "options.hpp"

using microvm::capi::Call;
using microvm::capi::enter;

namespace microvm::capi {

static_assert(MVM_LOG_KERNEL == value_of(LogSource::kernel));

EventOptions to_cpp(const Call& /*call*/, const mvm_event_options& given) {
  return {.follow = given.follow != 0};
}

}  // namespace microvm::capi

mvm_status mvm_runtime_events(mvm_runtime* runtime, const mvm_event_options* options,
                              const mvm_limits* limits, mvm_event_stream** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.handle(out).take(
        call.use(runtime)->events(call.options(options), call.limits(limits)));
  });
}

mvm_status mvm_event_stream_next(mvm_event_stream* stream, const mvm_limits* limits,
                                 mvm_vm_event** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(stream);
    const auto reading = call.reading(self);
    return call.out(out).take(self->next(call.limits(limits)));
  });
}

mvm_status mvm_event_stream_try_next(mvm_event_stream* stream, mvm_vm_event** out,
                                     mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(stream);
    const auto reading = call.reading(self);
    return call.out(out).take(self->try_next());
  });
}

mvm_status mvm_event_stream_fd(mvm_event_stream* stream, int32_t* out, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.set(out, call.use(stream)->fd()); });
}

void mvm_event_stream_free(mvm_event_stream* stream) {
  microvm::capi::free_handle(stream);
}

mvm_status mvm_vm_logs(mvm_vm* vm, mvm_log_source source, const mvm_limits* limits, mvm_bytes** out,
                       mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out(out).take(call.use(vm)->logs(
        call.value(source, microvm::LogSource::kernel, "source"), call.limits(limits)));
  });
}

mvm_status mvm_vm_follow_logs(mvm_vm* vm, mvm_log_source source, const mvm_limits* limits,
                              mvm_log_stream** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.handle(out).take(call.use(vm)->follow_logs(
        call.value(source, microvm::LogSource::kernel, "source"), call.limits(limits)));
  });
}

mvm_status mvm_log_stream_read(mvm_log_stream* stream, const mvm_limits* limits, mvm_bytes** out,
                               mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(stream);
    const auto reading = call.reading(self);
    return call.out(out).take(self->read(call.limits(limits)));
  });
}

mvm_status mvm_log_stream_try_read(mvm_log_stream* stream, mvm_bytes** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(stream);
    const auto reading = call.reading(self);
    return call.out(out).take(self->try_read());
  });
}

mvm_status mvm_log_stream_fd(mvm_log_stream* stream, int32_t* out, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.set(out, call.use(stream)->fd()); });
}

void mvm_log_stream_free(mvm_log_stream* stream) {
  microvm::capi::free_handle(stream);
}
