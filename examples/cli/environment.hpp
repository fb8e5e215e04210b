// Variables for a program in a microVM, as docker's -e and --env-file have them.
#pragma once

#include <istream>
#include <string>
#include <vector>

#include "microvm/error.hpp"

namespace cli {

// "NAME=VALUE" as it is; "NAME" with the value that it has here, and as it is, which takes it from
// the program, when it has none. Both return an error that says what is wrong with it.
microvm::Result<void> add_variable(const std::string& text, std::vector<std::string>& environment);
// A line for each; empty ones and those that begin with "#" are passed over. What stands behind
// "=" is the value as it is, quotes and blanks too.
microvm::Result<void> add_variables(std::istream& file, std::vector<std::string>& environment);

}  // namespace cli
