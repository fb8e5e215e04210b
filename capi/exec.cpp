// mvm_exec: programs.
#include "microvm/exec.hpp"

#include "infos.hpp"
#include "options.hpp"

using microvm::Result;
using microvm::capi::Call;
using microvm::capi::enter;

namespace microvm::capi {

static_assert(MVM_EXEC_STDERR == value_of(ExecOutput::Stream::err));

ExecOptions to_cpp(const Call& call, const mvm_exec_options& given) {
  ExecOptions options;
  options.argv = call.texts(given.argv, given.argv_count, "argv");
  options.env = call.texts(given.env, given.env_count, "env");
  options.cwd = Call::text_or_empty(given.cwd);
  options.user = Call::text_or_empty(given.user);
  options.timeout_ms = given.timeout_ms;
  options.stdin_open = given.stdin_open != 0;
  options.id = Call::text_or_empty(given.id);
  options.detached = given.detached != 0;
  options.reattach = given.reattach != 0;
  return options;
}

ExecAttachOptions to_cpp(const Call& /*call*/, const mvm_exec_attach_options& given) {
  ExecAttachOptions options;
  options.write = given.read_only == 0;
  options.take_over = given.take_over != 0;
  if (given.has_position != 0) options.position = given.position;
  options.reattach = given.reattach != 0;
  return options;
}

CollectOptions to_cpp(const Call& call, const mvm_collect_options& given) {
  CollectOptions options;
  set_unless_zero(options.max_bytes, given.max_bytes);
  const auto input = call.bytes(given.input, given.input_size, "input");
  options.input.assign(reinterpret_cast<const char*>(input.data()), input.size());
  return options;
}

void fill(Packer& packer, mvm_exec_info& to, const ExecInfo& from) {
  to.pid = from.pid;
  to.id = packer.text(from.id);
  to.command = packer.text(from.command);
  to.clients = from.clients;
  to.written = from.written ? 1 : 0;
  to.output_bytes = from.output_bytes;
  to.ended = from.ended ? packer.item<mvm_exit_status>(*from.ended) : nullptr;
  to.detached = from.detached ? 1 : 0;
}

void fill(Packer& packer, mvm_exec_output& to, const ExecOutput& from) {
  to.stream = value_of(from.stream);
  to.data = packer.bytes(from.data.data(), from.data.size());
  to.size = from.data.size();
  to.lost_bytes = from.lost_bytes;
}

void fill(Packer& packer, mvm_exec_result& to, const ExecResult& from) {
  to.status = packer.item<mvm_exit_status>(from.status);
  fill(packer, to.out, from.out);
  fill(packer, to.err, from.err);
}

}  // namespace microvm::capi

mvm_status mvm_vm_exec(mvm_vm* vm, const mvm_exec_options* options, const mvm_limits* limits,
                       mvm_exec** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.handle(out).take(
        call.use(vm)->exec(call.needed_options(options), call.limits(limits)));
  });
}

mvm_status mvm_vm_attach_exec(mvm_vm* vm, const char* id, const mvm_exec_attach_options* options,
                              const mvm_limits* limits, mvm_exec** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.handle(out).take(
        call.use(vm)->attach_exec(call.text(id, "id"), call.options(options), call.limits(limits)));
  });
}

mvm_status mvm_vm_execs(mvm_vm* vm, const mvm_limits* limits, mvm_exec_list** out,
                        mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out(out).take(call.use(vm)->execs(call.limits(limits)));
  });
}

mvm_status mvm_vm_signal_exec(mvm_vm* vm, const char* id, int32_t signal, const mvm_limits* limits,
                              mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(vm)->signal_exec(call.text(id, "id"), signal, call.limits(limits));
  });
}

mvm_status mvm_vm_wait_exec(mvm_vm* vm, const char* id, const mvm_limits* limits,
                            mvm_exit_status** out_or_null, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out_or_null(out_or_null)
        .take(call.use(vm)->wait_exec(call.text(id, "id"), call.limits(limits)));
  });
}

mvm_status mvm_vm_exec_collect(mvm_vm* vm, const mvm_exec_options* options,
                               const mvm_collect_options* collect, const mvm_limits* limits,
                               mvm_exec_result** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out(out).take(call.use(vm)->exec_collect(
        call.needed_options(options), call.options(collect), call.limits(limits)));
  });
}

mvm_status mvm_exec_read(mvm_exec* exec, const mvm_limits* limits, mvm_exec_output** out,
                         mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(exec);
    const auto reading = call.reading(self);
    return call.out(out).take(self->read(call.limits(limits)));
  });
}

mvm_status mvm_exec_try_read(mvm_exec* exec, mvm_exec_output** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(exec);
    const auto reading = call.reading(self);
    return call.out(out).take(self->try_read());
  });
}

mvm_status mvm_exec_write_stdin(mvm_exec* exec, const void* data, size_t size,
                                const mvm_limits* limits, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(exec)->write_stdin(call.bytes(data, size, "data"), call.limits(limits));
  });
}

mvm_status mvm_exec_try_write_stdin(mvm_exec* exec, const void* data, size_t size, size_t* out,
                                    mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(exec);
    return call.set(out, [&] { return self->try_write_stdin(call.bytes(data, size, "data")); });
  });
}

mvm_status mvm_exec_close_stdin(mvm_exec* exec, const mvm_limits* limits, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.use(exec)->close_stdin(call.limits(limits)); });
}

mvm_status mvm_exec_try_close_stdin(mvm_exec* exec, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) { return call.use(exec)->try_close_stdin(); });
}

mvm_status mvm_exec_signal(mvm_exec* exec, int32_t signal, const mvm_limits* limits,
                           mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(exec)->signal(signal, call.limits(limits));
  });
}

mvm_status mvm_exec_detach(mvm_exec* exec, const mvm_limits* limits, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.use(exec)->detach(call.limits(limits)); });
}

mvm_status mvm_exec_wait(mvm_exec* exec, const mvm_limits* limits, mvm_exit_status** out_or_null,
                         mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(exec);
    const auto reading = call.reading(self);
    return call.out_or_null(out_or_null).take(self->wait(call.limits(limits)));
  });
}

mvm_status mvm_exec_try_wait(mvm_exec* exec, mvm_exit_status** out_or_null, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(exec);
    const auto reading = call.reading(self);
    return call.out_or_null(out_or_null).take(self->try_wait());
  });
}

mvm_status mvm_exec_id(mvm_exec* exec, char** out, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.set_text(out, call.use(exec)->id()); });
}

mvm_status mvm_exec_pid(mvm_exec* exec, uint32_t* out, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.set(out, call.use(exec)->pid()); });
}

mvm_status mvm_exec_position(mvm_exec* exec, uint64_t* out, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.set(out, call.use(exec)->position()); });
}

mvm_status mvm_exec_writer(mvm_exec* exec, mvm_bool* out, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.set(out, call.use(exec)->writer() ? 1 : 0); });
}

mvm_status mvm_exec_fd(mvm_exec* exec, int32_t* out, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.set(out, call.use(exec)->fd()); });
}

void mvm_exec_free(mvm_exec* exec) {
  microvm::capi::free_handle(exec);
}
