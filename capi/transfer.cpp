// mvm_vm: trees of files between host and guest.
#include "microvm/files.hpp"
#include "options.hpp"

using microvm::capi::Call;
using microvm::capi::enter;

namespace microvm::capi {

DownloadOptions to_cpp(const Call& /*call*/, const mvm_download_options& given) {
  DownloadOptions options;
  options.name = Call::text_or_empty(given.name);
  options.follow_link = given.follow_link != 0;
  options.follow_target = given.follow_target != 0;
  options.keep_owner = given.keep_owner != 0;
  set_unless_zero(options.max_entries, given.max_entries);
  set_unless_zero(options.max_bytes, given.max_bytes);
  return options;
}

UploadOptions to_cpp(const Call& /*call*/, const mvm_upload_options& given) {
  UploadOptions options;
  options.name = Call::text_or_empty(given.name);
  options.follow_link = given.follow_link != 0;
  options.follow_target = given.follow_target != 0;
  options.keep_owner = given.keep_owner != 0;
  options.uid = given.uid;
  options.gid = given.gid;
  set_unless_zero(options.max_entries, given.max_entries);
  return options;
}

void fill(Packer& /*packer*/, mvm_transfer_totals& to, const TransferTotals& from) {
  to.entries = from.entries;
  to.bytes = from.bytes;
  to.skipped = from.skipped;
}

}  // namespace microvm::capi

mvm_status mvm_vm_download(mvm_vm* vm, const char* path, const char* directory,
                           const mvm_download_options* options, const mvm_limits* limits,
                           mvm_transfer_totals** out_or_null, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out_or_null(out_or_null)
        .take(call.use(vm)->download(call.text(path, "path"), call.text(directory, "directory"),
                                     call.options(options), call.limits(limits)));
  });
}

mvm_status mvm_vm_download_tar(mvm_vm* vm, const char* path, mvm_data_sink tar, void* user,
                               const mvm_download_options* options, const mvm_limits* limits,
                               mvm_transfer_totals** out_or_null, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out_or_null(out_or_null)
        .take(call.use(vm)->download_tar(call.text(path, "path"), data_sink(call, tar, user),
                                         call.options(options), call.limits(limits)));
  });
}

mvm_status mvm_vm_upload(mvm_vm* vm, const char* path, const char* directory,
                         const mvm_upload_options* options, const mvm_limits* limits,
                         mvm_transfer_totals** out_or_null, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out_or_null(out_or_null)
        .take(call.use(vm)->upload(call.text(path, "path"), call.text(directory, "directory"),
                                   call.options(options), call.limits(limits)));
  });
}

mvm_status mvm_vm_upload_tar(mvm_vm* vm, mvm_data_source tar, void* user, const char* directory,
                             const mvm_upload_options* options, const mvm_limits* limits,
                             mvm_transfer_totals** out_or_null, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out_or_null(out_or_null)
        .take(call.use(vm)->upload_tar(data_source(call, tar, user),
                                       call.text(directory, "directory"), call.options(options),
                                       call.limits(limits)));
  });
}
