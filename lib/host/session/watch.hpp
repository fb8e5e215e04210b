// Watching files of the guest: one operation that lives as long as its handle.
#pragma once

#include "host/session/agent_client.hpp"
#include "microvm/watch.hpp"

namespace microvm::host {

// Returns once the agent watches. Errors: invalid_argument, not_found, the link's own.
Result<Watch> open_watch(const std::shared_ptr<AgentLink>& link, const std::string& path,
                         const WatchOptions& options, const std::shared_ptr<StreamHome>& home,
                         const Limits& limits);

}  // namespace microvm::host
