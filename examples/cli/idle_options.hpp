// Options for when a microVM is put to sleep and when it is ended.
#pragma once

#include <optional>
#include <string>

#include "microvm/idle.hpp"
#include "options.hpp"

namespace cli {

// Of a command whose microVMs outlive it only what holds without it: --no-auto-resume.
enum class Lifetime { ends_with_command, outlives_command };

void add_idle_options(OptionParser& parser, Lifetime lifetime);
// The problem with them, if there is one.
std::optional<std::string> read_idle_options(const OptionParser& parser, Lifetime lifetime,
                                             microvm::IdlePolicy& policy);

// True: it has any that somebody must carry out.
bool has_idle_times(const microvm::IdlePolicy& policy);

// Those that take the next word, for split_at_first_word().
Arguments idle_options_with_value();

}  // namespace cli
