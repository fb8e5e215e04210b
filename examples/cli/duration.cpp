#include "duration.hpp"

#include <array>
#include <charconv>
#include <cstdint>

namespace cli {
namespace {

using std::chrono::milliseconds;

struct Unit {
  std::string_view name;
  milliseconds length;
};
constexpr std::array kUnits = {
    Unit{"ms", milliseconds(1)},        Unit{"s", std::chrono::seconds(1)},
    Unit{"m", std::chrono::minutes(1)}, Unit{"h", std::chrono::hours(1)},
    Unit{"d", std::chrono::hours(24)},
};
constexpr milliseconds kLongest = std::chrono::hours(24) * 365 * 100;

std::optional<milliseconds> length_of(std::string_view name) {
  for (const Unit& unit : kUnits) {
    if (unit.name == name) return unit.length;
  }
  return std::nullopt;
}

// The first number with its unit, which are taken off the text.
std::optional<milliseconds> take_part(std::string_view& text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number < 0) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  const size_t next = std::min(text.find_first_of("0123456789"), text.size());
  const auto length = length_of(text.substr(0, next));
  text.remove_prefix(next);
  if (!length || number > kLongest / *length) return std::nullopt;
  return *length * number;
}

}  // namespace

std::optional<milliseconds> parse_duration(std::string_view text) {
  if (text.empty()) return std::nullopt;
  milliseconds total{0};
  while (!text.empty()) {
    const auto part = take_part(text);
    if (!part) return std::nullopt;
    total += *part;
    if (total > kLongest) return std::nullopt;
  }
  return total;
}

}  // namespace cli
