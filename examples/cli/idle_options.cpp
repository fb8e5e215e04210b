#include "idle_options.hpp"

#include <algorithm>
#include <array>

#include "duration.hpp"

namespace cli {
namespace {

using microvm::IdlePolicy;

struct Time {
  const char* name;
  std::chrono::milliseconds IdlePolicy::* place;
  const char* help;
};
constexpr std::array kTimes = {
    Time{"idle-after", &IdlePolicy::idle_after, "Put it to sleep when it was idle for so long"},
    Time{"suspended-for", &IdlePolicy::suspended_for, "End it when it has slept for so long"},
    Time{"lifetime", &IdlePolicy::lifetime, "End it when it has run for so long"},
};

std::optional<std::string> read_time(const OptionParser& parser, const Time& time,
                                     IdlePolicy& policy) {
  if (!parser.has(time.name)) return std::nullopt;
  const auto length = parse_duration(parser.get(time.name));
  if (!length) return std::string("--") + time.name + ": not a time like 90s or 1h30m";
  policy.*time.place = *length;
  return std::nullopt;
}

}  // namespace

void add_idle_options(OptionParser& parser, Lifetime lifetime) {
  if (lifetime == Lifetime::ends_with_command) {
    for (const Time& time : kTimes) parser.value(time.name, "TIME", time.help);
    parser.flag("lifetime-counts-sleep", "The time asleep is part of the --lifetime");
  }
  parser.flag("no-auto-resume", "Once asleep it wakes by microvm resume alone");
}

std::optional<std::string> read_idle_options(const OptionParser& parser, Lifetime lifetime,
                                             IdlePolicy& policy) {
  policy.auto_resume = !parser.has("no-auto-resume");
  if (lifetime == Lifetime::outlives_command) return std::nullopt;
  policy.lifetime_counts_sleep = parser.has("lifetime-counts-sleep");
  for (const Time& time : kTimes) {
    if (auto problem = read_time(parser, time, policy)) return problem;
  }
  return std::nullopt;
}

bool has_idle_times(const IdlePolicy& policy) {
  return std::ranges::any_of(kTimes,
                             [&](const Time& time) { return (policy.*time.place).count() != 0; });
}

Arguments idle_options_with_value() {
  Arguments names;
  for (const Time& time : kTimes) names.push_back(std::string("--") + time.name);
  return names;
}

}  // namespace cli
