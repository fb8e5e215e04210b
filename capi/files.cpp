// mvm_vm: files of the guest.
#include "microvm/files.hpp"

#include "options.hpp"

using microvm::capi::Call;
using microvm::capi::enter;

namespace microvm::capi {

static_assert(MVM_FILE_BLOCK_DEVICE == value_of(FileType::block_device));

ReadFileOptions to_cpp(const Call& /*call*/, const mvm_read_file_options& given) {
  ReadFileOptions options;
  options.offset = given.offset;
  options.length = given.length;
  set_unless_zero(options.max_bytes, given.max_bytes);
  return options;
}

WriteFileOptions to_cpp(const Call& /*call*/, const mvm_write_file_options& given) {
  WriteFileOptions options;
  if (given.has_mode != 0) options.mode = given.mode;
  options.owner = Call::text_or_empty(given.owner);
  options.replace = given.no_replace == 0;
  return options;
}

StatFileOptions to_cpp(const Call& /*call*/, const mvm_stat_file_options& given) {
  return {.follow_link = given.no_follow_link == 0};
}

ListFilesOptions to_cpp(const Call& /*call*/, const mvm_list_files_options& given) {
  ListFilesOptions options;
  set_unless_zero(options.max_entries, given.max_entries);
  return options;
}

MakeDirectoryOptions to_cpp(const Call& /*call*/, const mvm_make_directory_options& given) {
  MakeDirectoryOptions options;
  if (given.has_mode != 0) options.mode = given.mode;
  options.owner = Call::text_or_empty(given.owner);
  options.parents = given.parents != 0;
  return options;
}

RemoveFileOptions to_cpp(const Call& /*call*/, const mvm_remove_file_options& given) {
  return {.recursive = given.recursive != 0};
}

RenameFileOptions to_cpp(const Call& /*call*/, const mvm_rename_file_options& given) {
  return {.replace = given.no_replace == 0};
}

void fill(Packer& packer, mvm_file_info& to, const FileInfo& from) {
  to.type = value_of(from.type);
  to.name = packer.text(from.name);
  to.mode = from.mode;
  to.uid = from.uid;
  to.gid = from.gid;
  to.size_bytes = from.size_bytes;
  to.mtime_ns = from.mtime_ns;
  to.link_target = packer.text(from.link_target);
}

}  // namespace microvm::capi

mvm_status mvm_vm_read_file(mvm_vm* vm, const char* path, const mvm_read_file_options* options,
                            const mvm_limits* limits, mvm_bytes** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out(out).take(call.use(vm)->read_file(call.text(path, "path"),
                                                      call.options(options), call.limits(limits)));
  });
}

mvm_status mvm_vm_read_file_to(mvm_vm* vm, const char* path, mvm_data_sink sink, void* user,
                               const mvm_read_file_options* options, const mvm_limits* limits,
                               mvm_file_info** out_or_null, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out_or_null(out_or_null)
        .take(call.use(vm)->read_file_to(call.text(path, "path"), data_sink(call, sink, user),
                                         call.options(options), call.limits(limits)));
  });
}

mvm_status mvm_vm_write_file(mvm_vm* vm, const char* path, const void* content, size_t size,
                             const mvm_write_file_options* options, const mvm_limits* limits,
                             mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(vm)->write_file(call.text(path, "path"), call.bytes(content, size, "content"),
                                    call.options(options), call.limits(limits));
  });
}

mvm_status mvm_vm_write_file_from(mvm_vm* vm, const char* path, mvm_data_source source, void* user,
                                  const mvm_write_file_options* options, const mvm_limits* limits,
                                  mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(vm)->write_file_from(call.text(path, "path"), data_source(call, source, user),
                                         call.options(options), call.limits(limits));
  });
}

mvm_status mvm_vm_append_file(mvm_vm* vm, const char* path, const void* content, size_t size,
                              const mvm_write_file_options* options, const mvm_limits* limits,
                              mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(vm)->append_file(call.text(path, "path"), call.bytes(content, size, "content"),
                                     call.options(options), call.limits(limits));
  });
}

mvm_status mvm_vm_stat_file(mvm_vm* vm, const char* path, const mvm_stat_file_options* options,
                            const mvm_limits* limits, mvm_file_info** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out(out).take(call.use(vm)->stat_file(call.text(path, "path"),
                                                      call.options(options), call.limits(limits)));
  });
}

mvm_status mvm_vm_list_files(mvm_vm* vm, const char* path, const mvm_list_files_options* options,
                             const mvm_limits* limits, mvm_file_list** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out(out).take(call.use(vm)->list_files(call.text(path, "path"),
                                                       call.options(options), call.limits(limits)));
  });
}

mvm_status mvm_vm_make_directory(mvm_vm* vm, const char* path,
                                 const mvm_make_directory_options* options,
                                 const mvm_limits* limits, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(vm)->make_directory(call.text(path, "path"), call.options(options),
                                        call.limits(limits));
  });
}

mvm_status mvm_vm_remove_file(mvm_vm* vm, const char* path, const mvm_remove_file_options* options,
                              const mvm_limits* limits, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(vm)->remove_file(call.text(path, "path"), call.options(options),
                                     call.limits(limits));
  });
}

mvm_status mvm_vm_rename_file(mvm_vm* vm, const char* path, const char* new_path,
                              const mvm_rename_file_options* options, const mvm_limits* limits,
                              mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(vm)->rename_file(call.text(path, "path"), call.text(new_path, "new_path"),
                                     call.options(options), call.limits(limits));
  });
}
