// The conversation with a running worker and, through it, its guest's agent; as long as it is the
// same worker.
#pragma once

#include <memory>

#include "host/session/agent_client.hpp"
#include "host/worker/control_client.hpp"

namespace microvm::host {

struct VmSession {
  std::shared_ptr<ControlClient> client;
  AgentClient agent;
};

}  // namespace microvm::host
