// Options for what a microVM's network is, and what it may reach.
#pragma once

#include <optional>
#include <string>

#include "microvm/network.hpp"
#include "options.hpp"

namespace cli {

// --allow, --deny and the limits.
void add_policy_options(OptionParser& parser);
// The problem with them, if there is one.
std::optional<std::string> read_policy_options(const OptionParser& parser,
                                               microvm::NetworkPolicy& policy);

// These and --network, with what a tap needs.
void add_network_options(OptionParser& parser);
std::optional<std::string> read_network_options(const OptionParser& parser,
                                                microvm::NetworkOptions& network);
// Any of them was given.
bool has_network_options(const OptionParser& parser);

// Those that take the next word, for split_at_first_word().
Arguments network_options_with_value();

extern const char* const kNetworkNotes;

}  // namespace cli
