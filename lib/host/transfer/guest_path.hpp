// Names in transfers: what the top of a tree is called where it goes.
#pragma once

#include <string>

#include "base/error.hpp"

namespace microvm::host {

// "." means: not the top but what is in it.
inline constexpr const char* kOnlyContent = ".";

// The name asked for, or the last one of the path; kOnlyContent when that has none. Error:
// invalid_argument when the name asked for is more than one name.
[[nodiscard]] Result<std::string> top_name(const std::string& asked, const std::string& path);

// "/dir" and "name" → "/dir/name"; without the name when it is empty or kOnlyContent.
[[nodiscard]] std::string join(const std::string& directory, const std::string& name);

// The error of a tree whose content was asked for and that is no directory.
[[nodiscard]] base::Failure not_a_directory(const std::string& path);

}  // namespace microvm::host
