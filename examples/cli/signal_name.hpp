#pragma once

#include <optional>
#include <string>

namespace cli {

// "TERM", "SIGTERM" or "15".
std::optional<int> parse_signal(const std::string& text);

}  // namespace cli
