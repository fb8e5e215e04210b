// mvm_pty: terminals.
#include "microvm/pty.hpp"

#include "infos.hpp"
#include "options.hpp"

using microvm::PtySize;
using microvm::Result;
using microvm::capi::Call;
using microvm::capi::enter;

namespace microvm::capi {
namespace {

static_assert(MVM_PTY_SHARED == value_of(PtyWriting::shared));

PtySize pty_size(const Call& call, uint32_t rows, uint32_t columns) {
  return {.rows = call.small(rows, "rows"), .columns = call.small(columns, "columns")};
}

}  // namespace

PtyOptions to_cpp(const Call& call, const mvm_pty_options& given) {
  PtyOptions options;
  options.argv = call.texts(given.argv, given.argv_count, "argv");
  options.env = call.texts(given.env, given.env_count, "env");
  options.cwd = Call::text_or_empty(given.cwd);
  options.user = Call::text_or_empty(given.user);
  const PtySize size = pty_size(call, given.rows, given.columns);
  set_unless_zero(options.size.rows, size.rows);
  set_unless_zero(options.size.columns, size.columns);
  set_unless_zero(options.term, Call::text_or_empty(given.term));
  options.id = Call::text_or_empty(given.id);
  options.writing = call.value(given.writing, PtyWriting::shared, "writing");
  return options;
}

PtyAttachOptions to_cpp(const Call& call, const mvm_pty_attach_options& given) {
  PtyAttachOptions options;
  options.write = given.read_only == 0;
  options.take_over = given.take_over != 0;
  if (given.rows != 0 || given.columns != 0) {
    options.size = pty_size(call, given.rows, given.columns);
  }
  if (given.has_position != 0) options.position = given.position;
  return options;
}

void fill(Packer& packer, mvm_pty_info& to, const PtyInfo& from) {
  to.pid = from.pid;
  to.id = packer.text(from.id);
  to.command = packer.text(from.command);
  to.rows = from.size.rows;
  to.columns = from.size.columns;
  to.clients = from.clients;
  to.writers = from.writers;
  to.ended = from.ended ? packer.item<mvm_exit_status>(*from.ended) : nullptr;
  to.writing = value_of(from.writing);
}

void fill(Packer& packer, mvm_pty_output& to, const PtyOutput& from) {
  to.data = packer.bytes(from.data.data(), from.data.size());
  to.size = from.data.size();
  to.lost_bytes = from.lost_bytes;
}

}  // namespace microvm::capi

mvm_status mvm_vm_pty(mvm_vm* vm, const mvm_pty_options* options, const mvm_limits* limits,
                      mvm_pty** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.handle(out).take(call.use(vm)->pty(call.options(options), call.limits(limits)));
  });
}

mvm_status mvm_vm_attach_pty(mvm_vm* vm, const char* id, const mvm_pty_attach_options* options,
                             const mvm_limits* limits, mvm_pty** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.handle(out).take(
        call.use(vm)->attach_pty(call.text(id, "id"), call.options(options), call.limits(limits)));
  });
}

mvm_status mvm_vm_ptys(mvm_vm* vm, const mvm_limits* limits, mvm_pty_list** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out(out).take(call.use(vm)->ptys(call.limits(limits)));
  });
}

mvm_status mvm_vm_close_pty(mvm_vm* vm, const char* id, const mvm_limits* limits, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(vm)->close_pty(call.text(id, "id"), call.limits(limits));
  });
}

mvm_status mvm_pty_read(mvm_pty* pty, const mvm_limits* limits, mvm_pty_output** out,
                        mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(pty);
    const auto reading = call.reading(self);
    return call.out(out).take(self->read(call.limits(limits)));
  });
}

mvm_status mvm_pty_try_read(mvm_pty* pty, mvm_pty_output** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(pty);
    const auto reading = call.reading(self);
    return call.out(out).take(self->try_read());
  });
}

mvm_status mvm_pty_write(mvm_pty* pty, const void* data, size_t size, const mvm_limits* limits,
                         mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(pty)->write(call.bytes(data, size, "data"), call.limits(limits));
  });
}

mvm_status mvm_pty_try_write(mvm_pty* pty, const void* data, size_t size, size_t* out,
                             mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(pty);
    return call.set(out, [&] { return self->try_write(call.bytes(data, size, "data")); });
  });
}

mvm_status mvm_pty_resize(mvm_pty* pty, uint32_t rows, uint32_t columns, const mvm_limits* limits,
                          mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(pty)->resize(microvm::capi::pty_size(call, rows, columns), call.limits(limits));
  });
}

mvm_status mvm_pty_signal(mvm_pty* pty, int32_t signal, const mvm_limits* limits, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(pty)->signal(signal, call.limits(limits));
  });
}

mvm_status mvm_pty_detach(mvm_pty* pty, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) -> Result<void> {
    call.use(pty)->detach();
    return {};
  });
}

mvm_status mvm_pty_wait(mvm_pty* pty, const mvm_limits* limits, mvm_exit_status** out_or_null,
                        mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(pty);
    const auto reading = call.reading(self);
    return call.out_or_null(out_or_null).take(self->wait(call.limits(limits)));
  });
}

mvm_status mvm_pty_try_wait(mvm_pty* pty, mvm_exit_status** out_or_null, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(pty);
    const auto reading = call.reading(self);
    return call.out_or_null(out_or_null).take(self->try_wait());
  });
}

mvm_status mvm_pty_id(mvm_pty* pty, char** out, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.set_text(out, call.use(pty)->id()); });
}

mvm_status mvm_pty_pid(mvm_pty* pty, uint32_t* out, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.set(out, call.use(pty)->pid()); });
}

mvm_status mvm_pty_writer(mvm_pty* pty, mvm_bool* out, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.set(out, call.use(pty)->writer() ? 1 : 0); });
}

mvm_status mvm_pty_position(mvm_pty* pty, uint64_t* out, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.set(out, call.use(pty)->position()); });
}

mvm_status mvm_pty_fd(mvm_pty* pty, int32_t* out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) { return call.set(out, call.use(pty)->fd()); });
}

void mvm_pty_free(mvm_pty* pty) {
  microvm::capi::free_handle(pty);
}
