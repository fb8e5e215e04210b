// The text files of a build: Dockerfile and .dockerignore, as editors of any system leave them.
#pragma once

#include <string>
#include <string_view>

#include "base/error.hpp"

namespace microvm::host {

// The text without a UTF-8 byte order mark. `name` stands in messages. Error syntax: another
// encoding, or no text: nothing of it would be understood, and rules that hide secrets be lost.
[[nodiscard]] Result<std::string_view> plain_text(std::string_view text, const std::string& name);

}  // namespace microvm::host
