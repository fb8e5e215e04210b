// Options that several nouns take, and callbacks, as the C++ API has them.
#pragma once

#include "call.hpp"
#include "microvm/files.hpp"
#include "microvm/hooks.hpp"
#include "microvm/idle.hpp"
#include "microvm/image.hpp"
#include "microvm/vm.hpp"

namespace microvm::capi {

// 0 leaves the default of the C++ API.
template <class T>
void set_unless_zero(T& option, T given) {
  if (given != T{}) option = given;
}

Hooks to_cpp(const Call& call, const mvm_hooks& options);
IdlePolicy to_cpp(const Call& call, const mvm_idle_policy& options);
NetworkPolicy to_cpp(const Call& call, const mvm_network_policy& options);
NetworkOptions to_cpp(const Call& call, const mvm_network_options& options);
RunOptions to_cpp(const Call& call, const mvm_run_options& options);

// NULL: empty.
ProgressSink progress_sink(mvm_progress_fn progress, void* user);
DataSink data_sink(const Call& call, mvm_data_sink sink, void* user);
DataSource data_source(const Call& call, mvm_data_source source, void* user);

}  // namespace microvm::capi
