// Whether this process may make cgroups of its own (memory and cpu limits of microVMs).
#pragma once

#include "microvm/probe.hpp"

namespace microvm::host {

ProbeItem probe_cgroup();

}  // namespace microvm::host
