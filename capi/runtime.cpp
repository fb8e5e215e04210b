// mvm_runtime: opening and closing, kernels and bases, pruning.
#include "microvm/runtime.hpp"

#include "infos.hpp"
#include "options.hpp"

using microvm::BaseInfo;
using microvm::KernelInfo;
using microvm::Result;
using microvm::Runtime;
using microvm::VmEvent;
using microvm::capi::Call;
using microvm::capi::enter;

namespace microvm::capi {
namespace {

// The caller's callbacks of a Runtime. They go when the last who might call them goes.
class Callbacks {
 public:
  explicit Callbacks(const mvm_runtime_options& options)
      : log_(options.log),
        on_event_(options.on_event),
        user_(options.user),
        release_(options.release) {}
  Callbacks(const Callbacks&) = delete;
  Callbacks& operator=(const Callbacks&) = delete;
  ~Callbacks() {
    if (is_kept_ && release_ != nullptr) release_(user_);
  }

  void keep() { is_kept_ = true; }

  // On threads of the library's, where nobody catches anything: what there is no memory for is not
  // told.
  void log(std::string_view line) const noexcept try {
    if (log_ != nullptr) log_(user_, std::string(line).c_str());
  } catch (const std::bad_alloc&) {
  }
  void tell(const VmEvent& event) const noexcept try {
    mvm_vm_event* const told = make_result<mvm_vm_event>(event);
    on_event_(user_, told);
    mvm_free(told);
  } catch (const std::bad_alloc&) {
  }

  [[nodiscard]] bool has_on_event() const { return on_event_ != nullptr; }

 private:
  const mvm_log_fn log_;
  const mvm_event_fn on_event_;
  void* const user_;
  const mvm_release_fn release_;
  bool is_kept_ = false;
};

RuntimeOptions runtime_options(const mvm_runtime_options& given,
                               const std::shared_ptr<Callbacks>& callbacks) {
  RuntimeOptions options;
  options.data_dir = Call::text_or_empty(given.data_dir);
  options.pool_size = given.pool_size;
  options.memory_limit_bytes = given.memory_limit_bytes;
  set_unless_zero(options.max_waiting_calls, given.max_waiting_calls);
  // Also without a log: it has the callbacks stay, for their release, as long as the Runtime.
  options.log = [callbacks](std::string_view line) { callbacks->log(line); };
  if (callbacks->has_on_event()) {
    options.on_event = [callbacks](const VmEvent& event) { callbacks->tell(event); };
  }
  return options;
}

Result<Runtime> open(const Call& call, const mvm_runtime_options* options,
                     const mvm_limits* limits) {
  const mvm_runtime_options given = call.known_part(options);
  const auto callbacks = std::make_shared<Callbacks>(given);
  auto runtime = Runtime::open(runtime_options(given, callbacks), call.limits(limits));
  if (runtime) callbacks->keep();
  return runtime;
}

}  // namespace

ImportBaseOptions to_cpp(const Call& /*call*/, const mvm_import_base_options& given) {
  ImportBaseOptions options;
  set_unless_zero(options.disk_bytes, given.disk_bytes);
  options.progress = progress_sink(given.progress, given.progress_user);
  return options;
}

PruneOptions to_cpp(const Call& /*call*/, const mvm_prune_options& given) {
  return {.dry_run = given.dry_run != 0,
          .images = given.images != 0,
          .bases_and_kernels = given.bases_and_kernels != 0};
}

void fill(Packer& packer, mvm_kernel_info& to, const KernelInfo& from) {
  to.name = packer.text(from.name);
  to.digest = packer.text(from.digest);
  to.size_bytes = from.size_bytes;
}

void fill(Packer& packer, mvm_base_info& to, const BaseInfo& from) {
  to.name = packer.text(from.name);
  to.digest = packer.text(from.digest);
  to.size_bytes = from.size_bytes;
}

static_assert(MVM_PRUNED_KERNEL == value_of(PrunedItem::Kind::kernel));

void fill(Packer& packer, mvm_pruned_item& to, const PrunedItem& from) {
  to.kind = value_of(from.kind);
  to.name = packer.text(from.name);
  to.bytes = from.bytes;
}

void fill(Packer& packer, mvm_prune_report& to, const PruneReport& from) {
  to.count = from.items.size();
  to.items = packer.items<mvm_pruned_item>(from.items);
  to.bytes = from.bytes;
}

}  // namespace microvm::capi

mvm_status mvm_runtime_open(const mvm_runtime_options* options, const mvm_limits* limits,
                            mvm_runtime** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.handle(out).take(microvm::capi::open(call, options, limits));
  });
}

void mvm_runtime_free(mvm_runtime* runtime) {
  microvm::capi::free_handle(runtime);
}

mvm_status mvm_runtime_data_dir(mvm_runtime* runtime, char** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.set_text(out, call.use(runtime)->data_dir().native());
  });
}

mvm_status mvm_runtime_import_kernel(mvm_runtime* runtime, const char* deb,
                                     const mvm_limits* limits, mvm_kernel_info** out_or_null,
                                     mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out_or_null(out_or_null)
        .take(call.use(runtime)->import_kernel(call.text(deb, "deb"), call.limits(limits)));
  });
}

mvm_status mvm_runtime_kernels(mvm_runtime* runtime, const mvm_limits* limits,
                               mvm_kernel_list** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out(out).take(call.use(runtime)->kernels(call.limits(limits)));
  });
}

mvm_status mvm_runtime_remove_kernel(mvm_runtime* runtime, const char* name_or_digest,
                                     const mvm_limits* limits, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(runtime)->remove_kernel(call.text(name_or_digest, "name_or_digest"),
                                            call.limits(limits));
  });
}

mvm_status mvm_runtime_import_base(mvm_runtime* runtime, const char* name, const char* tar,
                                   const mvm_import_base_options* options, const mvm_limits* limits,
                                   mvm_base_info** out_or_null, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out_or_null(out_or_null)
        .take(call.use(runtime)->import_base(call.text(name, "name"), call.text(tar, "tar"),
                                             call.options(options), call.limits(limits)));
  });
}

mvm_status mvm_runtime_bases(mvm_runtime* runtime, const mvm_limits* limits, mvm_base_list** out,
                             mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out(out).take(call.use(runtime)->bases(call.limits(limits)));
  });
}

mvm_status mvm_runtime_remove_base(mvm_runtime* runtime, const char* name, const mvm_limits* limits,
                                   mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(runtime)->remove_base(call.text(name, "name"), call.limits(limits));
  });
}

mvm_status mvm_runtime_prune(mvm_runtime* runtime, const mvm_prune_options* options,
                             const mvm_limits* limits, mvm_prune_report** out_or_null,
                             mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out_or_null(out_or_null)
        .take(call.use(runtime)->prune(call.options(options), call.limits(limits)));
  });
}

const char* mvm_pruned_kind_name(mvm_pruned_kind kind) {
  return microvm::pruned_kind_name(static_cast<microvm::PrunedItem::Kind>(kind));
}
