// What every program finds of a network: itself.
#pragma once

#include "agent/base/failed.hpp"

namespace microvm::agent {

[[nodiscard]] Outcome<void> bring_up_loopback();

// Adds "localhost" to /etc/hosts where it is missing; the rest is the image's.
void complete_hosts_file();

}  // namespace microvm::agent
