// The embedder's rules, which are text everywhere (grammar: microvm/network.hpp), to what
// microvm-net goes by; and back.
#pragma once

#include <string>

#include "base/error.hpp"
#include "microvm/network.hpp"
#include "wire/network_setup.hpp"

namespace microvm::host {

// `number`: the first is 1. Error invalid_argument: with the rule, the place in it and what to
// write instead.
[[nodiscard]] Result<wire::NetworkRule> parse_rule(const std::string& text, size_t number);

// Error invalid_argument: a rule, too many of them, a limit out of bounds.
[[nodiscard]] Result<wire::NetworkSetup> compile_policy(const NetworkPolicy& policy);
[[nodiscard]] NetworkPolicy policy_of(const wire::NetworkSetup& setup);

}  // namespace microvm::host
