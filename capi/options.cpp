#include "options.hpp"

namespace microvm::capi {
namespace {

// Of one CPU; more than any machine has.
constexpr double kMaxCpus = 65536;

}  // namespace

Hooks to_cpp(const Call& call, const mvm_hooks& options) {
  return {.port = call.small(options.port, "port"),
          .ready = call.time(options.ready_ms, "ready_ms"),
          .validate = call.time(options.validate_ms, "validate_ms"),
          .run = call.time(options.run_ms, "run_ms"),
          .suspend = call.time(options.suspend_ms, "suspend_ms"),
          .resume = call.time(options.resume_ms, "resume_ms"),
          .terminate = call.time(options.terminate_ms, "terminate_ms")};
}

IdlePolicy to_cpp(const Call& call, const mvm_idle_policy& options) {
  if (!(options.cpu_threshold >= 0 && options.cpu_threshold <= kMaxCpus)) {
    call.refuse("cpu_threshold is no number of CPUs");
  }
  IdlePolicy policy;
  policy.idle_after = call.time(options.idle_after_ms, "idle_after_ms");
  policy.suspended_for = call.time(options.suspended_for_ms, "suspended_for_ms");
  policy.lifetime = call.time(options.lifetime_ms, "lifetime_ms");
  policy.lifetime_counts_sleep = options.lifetime_counts_sleep != 0;
  set_unless_zero(policy.cpu_threshold, options.cpu_threshold);
  policy.auto_resume = options.no_auto_resume == 0;
  return policy;
}

RunOptions to_cpp(const Call& call, const mvm_run_options& given) {
  RunOptions options;
  options.name = Call::text_or_empty(given.name);
  options.dies_with_owner = given.outlives_owner == 0;
  options.start_timeout =
      call.time(given.start_timeout_ms, options.start_timeout, "start_timeout_ms");
  options.idle = call.options(given.idle);
  options.run_hook_payload = Call::text_or_empty(given.run_hook_payload);
  options.network = call.options(given.network);
  return options;
}

ProgressSink progress_sink(mvm_progress_fn progress, void* user) {
  if (progress == nullptr) return {};
  return [progress, user](const Progress& from) {
    auto to = sized<mvm_progress>();
    to.step = from.step.c_str();
    to.done = from.done;
    to.total = from.total;
    to.output = reinterpret_cast<const uint8_t*>(from.output.data());
    to.output_size = from.output.size();
    progress(user, &to);
  };
}

DataSink data_sink(const Call& call, mvm_data_sink sink, void* user) {
  return [sink = call.callback(sink, "sink"), user](std::span<const std::byte> data) {
    const int32_t status = sink(user, data.data(), data.size());
    return status == MVM_OK ? Result<void>() : fail(callback_error("the data sink", status));
  };
}

DataSource data_source(const Call& call, mvm_data_source source, void* user) {
  return [source = call.callback(source, "source"), user](std::span<std::byte> buffer) {
    const int64_t size = source(user, buffer.data(), buffer.size());
    if (size < 0) return Result<size_t>(fail(callback_error("the data source", size)));
    if (static_cast<size_t>(size) > buffer.size()) {
      return Result<size_t>(
          fail(Error{ErrorCode::invalid_argument,
                     "the data source says it gave more than there was room for"}));
    }
    return Result<size_t>(static_cast<size_t>(size));
  };
}

}  // namespace microvm::capi
