// What every program finds of a network: itself.
#pragma once

#include "agent/base/failed.hpp"

namespace microvm::agent {

[[nodiscard]] Outcome<void> bring_up_loopback();
// This process has a network of its own then, with nothing else in it. System calls only. False:
// errno says why not.
[[nodiscard]] bool enter_empty_network();

}  // namespace microvm::agent
