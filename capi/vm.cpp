// mvm_vm: what it is, its life.
#include "microvm/vm.hpp"

#include <algorithm>

#include "infos.hpp"
#include "options.hpp"

using microvm::Result;
using microvm::Vm;
using microvm::capi::Call;
using microvm::capi::enter;

namespace microvm::capi {
namespace {

constexpr uint32_t kMaxForks = 1000;  // more are refused by the library

// Whose handles are there before they are.
class ForkOut {
 public:
  ForkOut(mvm_fork_list** to, uint32_t count)
      : to_(to), places_(std::min(count, kMaxForks)), list_(allocate(places_.size())) {}

  Result<void> take(Result<std::vector<Vm>> forks) {
    if (!forks) return fail(forks.error());
    auto* const items = reinterpret_cast<mvm_vm**>(list_.get() + 1);
    const size_t count = std::min(forks->size(), places_.size());
    for (size_t i = 0; i < count; ++i) items[i] = places_[i].publish(std::move((*forks)[i]));
    list_->count = count;
    list_->items = items;
    *to_ = list_.release();
    return {};
  }

 private:
  struct Free {
    void operator()(mvm_fork_list* list) const { mvm_free(list); }
  };
  using List = std::unique_ptr<mvm_fork_list, Free>;

  static List allocate(size_t count) {
    void* const memory = std::malloc(sizeof(mvm_fork_list) + count * sizeof(mvm_vm*));
    if (memory == nullptr) throw std::bad_alloc();
    return List(new (memory) mvm_fork_list{});
  }

  mvm_fork_list** to_;
  std::vector<NewHandle<mvm_vm>> places_;
  List list_;
};

}  // namespace

SuspendOptions to_cpp(const Call& /*call*/, const mvm_suspend_options& given) {
  return {.wait_durable = given.no_wait_durable == 0};
}

ResumeOptions to_cpp(const Call& call, const mvm_resume_options& given) {
  ResumeOptions options;
  if (given.idle != nullptr) options.idle = call.options(given.idle);
  return options;
}

ForkOptions to_cpp(const Call& call, const mvm_fork_options& given) {
  ForkOptions options;
  set_unless_zero(options.count, given.count);
  options.name = Call::text_or_empty(given.name);
  options.dies_with_owner = given.outlives_owner == 0;
  options.start_timeout =
      call.time(given.start_timeout_ms, options.start_timeout, "start_timeout_ms");
  options.idle = call.options(given.idle);
  options.run_hook_payload = Call::text_or_empty(given.run_hook_payload);
  if (given.network != nullptr) options.network = call.options(given.network);
  return options;
}

CheckpointOptions to_cpp(const Call& /*call*/, const mvm_checkpoint_options& given) {
  return {.name = Call::text_or_empty(given.name)};
}

void fill(Packer& /*packer*/, mvm_launch_times& to, const LaunchTimes& from) {
  to.worker_us = from.worker_us;
  to.restore_us = from.restore_us;
  to.agent_us = from.agent_us;
  to.ready_us = from.ready_us;
}

void fill(Packer& packer, mvm_vm_counters& to, const VmCounters& from) {
  to.paused = from.paused ? 1 : 0;
  to.exits = from.exits;
  to.start_to_run_ns = from.start_to_run_ns;
  to.network = packer.item<mvm_network_counters>(from.network);
}

void fill(Packer& /*packer*/, mvm_suspend_times& to, const SuspendTimes& from) {
  to.pause_us = from.pause_us;
  to.acknowledged_us = from.acknowledged_us;
  to.durable_us = from.durable_us;
  to.changed_bytes = from.changed_bytes;
  to.stored_bytes = from.stored_bytes;
}

void fill(Packer& packer, mvm_vm_ending& to, const VmEnding& from) {
  to.end = value_of(from.end);
  to.reason = packer.text(from.reason);
}

}  // namespace microvm::capi

void mvm_vm_free(mvm_vm* vm) {
  microvm::capi::free_handle(vm);
}

mvm_status mvm_vm_copy(mvm_vm* vm, mvm_vm** out, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.handle(out).take(*call.use(vm)); });
}

mvm_status mvm_vm_id(mvm_vm* vm, char** out, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.set_text(out, call.use(vm)->id()); });
}

mvm_status mvm_vm_get_info(mvm_vm* vm, mvm_vm_info** out, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.out(out).take(call.use(vm)->info()); });
}

mvm_status mvm_vm_launch_times(mvm_vm* vm, mvm_launch_times** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out(out).take(Result<microvm::LaunchTimes>(call.use(vm)->launch_times()));
  });
}

mvm_status mvm_vm_get_counters(mvm_vm* vm, const mvm_limits* limits, mvm_vm_counters** out,
                               mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out(out).take(call.use(vm)->counters(call.limits(limits)));
  });
}

mvm_status mvm_vm_connect(mvm_vm* vm, uint32_t port, const mvm_limits* limits, int32_t* out,
                          mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(vm);
    return call.set(out,
                    [&] { return self->connect(call.small(port, "port"), call.limits(limits)); });
  });
}

mvm_status mvm_vm_keep_awake(mvm_vm* vm, mvm_keep_awake** out, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.handle(out).take(call.use(vm)->keep_awake()); });
}

void mvm_keep_awake_free(mvm_keep_awake* keep_awake) {
  microvm::capi::free_handle(keep_awake);
}

mvm_status mvm_vm_suspend(mvm_vm* vm, const mvm_suspend_options* options, const mvm_limits* limits,
                          mvm_suspend_times** out_or_null, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out_or_null(out_or_null)
        .take(call.use(vm)->suspend(call.options(options), call.limits(limits)));
  });
}

mvm_status mvm_vm_resume(mvm_vm* vm, const mvm_resume_options* options, const mvm_limits* limits,
                         mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(vm)->resume(call.options(options), call.limits(limits));
  });
}

mvm_status mvm_vm_fork(mvm_vm* vm, const mvm_fork_options* options, const mvm_limits* limits,
                       mvm_fork_list** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(vm);
    const microvm::ForkOptions fork = call.options(options);
    microvm::capi::ForkOut place(call.place(out), fork.count);
    return place.take(self->fork(fork, call.limits(limits)));
  });
}

mvm_status mvm_vm_checkpoint(mvm_vm* vm, const mvm_checkpoint_options* options,
                             const mvm_limits* limits, mvm_checkpoint_info** out_or_null,
                             mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out_or_null(out_or_null)
        .take(call.use(vm)->checkpoint(call.options(options), call.limits(limits)));
  });
}

mvm_status mvm_vm_rollback(mvm_vm* vm, const char* checkpoint, const mvm_limits* limits,
                           mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(vm)->rollback(call.text(checkpoint, "checkpoint"), call.limits(limits));
  });
}

mvm_status mvm_vm_terminate(mvm_vm* vm, const mvm_limits* limits, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.use(vm)->terminate(call.limits(limits)); });
}

mvm_status mvm_vm_wait(mvm_vm* vm, const mvm_limits* limits, mvm_vm_ending** out_or_null,
                       mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out_or_null(out_or_null).take(call.use(vm)->wait(call.limits(limits)));
  });
}

mvm_status mvm_vm_try_wait(mvm_vm* vm, mvm_vm_ending** out_or_null, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out_or_null(out_or_null).take(call.use(vm)->try_wait());
  });
}

mvm_status mvm_vm_end_fd(mvm_vm* vm, int32_t* out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(vm);
    return call.set(out, [&] { return self->end_fd(); });
  });
}
