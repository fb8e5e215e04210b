// What every program finds of a network: itself.
#pragma once

#include "agent/base/failed.hpp"

namespace microvm::agent {

[[nodiscard]] Outcome<void> bring_up_loopback();

}  // namespace microvm::agent
