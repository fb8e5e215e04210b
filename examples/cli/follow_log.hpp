// A log of a microVM, passed on as it comes.
#pragma once

#include <functional>
#include <string_view>

#include "microvm/vm.hpp"

namespace cli {

// Until the microVM ends or the limits fire.
microvm::Result<void> follow_log(microvm::Vm& vm, microvm::LogSource source,
                                 const std::function<void(std::string_view)>& pass_on,
                                 const microvm::CallLimits& limits);

}  // namespace cli
