// Options that say how a program in a microVM is started: -e, --env-file, -w and -u.
#pragma once

#include <optional>

#include "microvm/exec.hpp"
#include "options.hpp"

namespace cli {

void add_program_options(OptionParser& parser);
[[nodiscard]] bool has_program_options(const OptionParser& parser);
// The problem with them, if there is one.
std::optional<std::string> read_program_options(const OptionParser& parser,
                                                microvm::ExecOptions& program);

// split_at_first_word() for a command with these options. `with_value`: its other ones.
SplitArguments split_at_program(const Arguments& arguments, Arguments with_value);

}  // namespace cli
