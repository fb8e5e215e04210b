// The environment of a program in a guest.
#pragma once

#include <string>
#include <vector>

#include "base/error.hpp"

namespace microvm::host {

[[nodiscard]] bool has_variable(const std::vector<std::string>& env, std::string_view name);

// The image's variables with the caller's over them (the last of a name; NAME alone takes it away),
// and a PATH in any case. Error: invalid_argument where one of the caller's has no name.
Result<std::vector<std::string>> make_environment(const std::vector<std::string>& image,
                                                  const std::vector<std::string>& own);

}  // namespace microvm::host
