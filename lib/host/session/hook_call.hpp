// The call of a hook (microvm/hooks.hpp): a POST over a stream that the agent opens in the guest,
// and the rules of when to ask again.
#pragma once

#include <functional>
#include <string>

#include "host/session/agent_client.hpp"
#include "microvm/hooks.hpp"

namespace microvm::host {

// A stream to the app's port. Error: connection_refused, …
using HookConnect = std::function<Result<base::Fd>(const Limits& limits)>;

// Returns when the app has answered 200. `kind` is on in `hooks`. Errors: guest_failed (what the
// app answered, or that it did not in the hook's own time); cancelled, deadline_exceeded: of
// `limits`; those of `connect`. The message begins with the hook's name.
Result<void> call_hook(const HookConnect& connect, const Hooks& hooks, const HookKind& kind,
                       const std::string& body, const Limits& limits);
Result<void> call_hook(AgentClient& agent, const Hooks& hooks, const HookKind& kind,
                       const std::string& body, const Limits& limits);

}  // namespace microvm::host
