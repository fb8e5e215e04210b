// Lengths of time as people write them.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace cli {

// "90s", "5m", "1h30m", "250ms", "2d": whole numbers, each with its unit, added up; at most 100
// years.
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);

}  // namespace cli
