// Variables in Dockerfile words: $NAME, ${NAME}, ${NAME:-word}, ${NAME-word}, ${NAME:+word},
// ${NAME+word}, ${NAME:?word}; quotes and the escape character as the Docker builder treats them.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace microvm::host {

using VariableLookup = std::function<std::optional<std::string>(const std::string& name)>;

// Expands one word and removes its quotes. Errors: syntax (the message without file and line).
Result<std::string> expand_word(std::string_view word, char escape, const VariableLookup& lookup);

}  // namespace microvm::host
