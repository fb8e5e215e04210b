// Whether one more guest may run here.
#pragma once

#include <string_view>

#include "host/worker/worker_host.hpp"

namespace microvm::host {

// Asked by a start once its own directory counts as running, so that of any number of starts at
// once, in whatever processes, none gets above the limit; at the edge they may all be refused.
// Error: out_of_memory.
Result<void> check_memory_limit(const WorkerHost& host, std::string_view what);

}  // namespace microvm::host
