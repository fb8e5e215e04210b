// What the streams of a Vm know of it: why they ended, the way back, and who looks for a call that
// must not wait.
#pragma once

#include <memory>

#include "host/session/stream_home.hpp"
#include "host/vm/vm_impl.hpp"

namespace microvm::host {

// Holds it weakly: a stream does not keep its Vm.
std::shared_ptr<StreamHome> make_stream_home(const std::shared_ptr<Vm::Impl>& vm);

}  // namespace microvm::host
