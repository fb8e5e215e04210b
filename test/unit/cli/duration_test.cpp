#include "examples/cli/duration.hpp"

#include <doctest/doctest.h>

using cli::parse_duration;
using namespace std::chrono_literals;

TEST_CASE("cli: times as people write them") {
  CHECK(parse_duration("90s") == 90s);
  CHECK(parse_duration("5m") == 5min);
  CHECK(parse_duration("1h30m") == 90min);
  CHECK(parse_duration("250ms") == 250ms);
  CHECK(parse_duration("1m1ms") == 60001ms);
  CHECK(parse_duration("2d") == 48h);
  CHECK(parse_duration("0s") == 0ms);
  CHECK(parse_duration("36500d") == 36500 * 24h);
}

TEST_CASE("cli: what is no time, or too long for one") {
  for (const char* text :
       {"", "90", "s", "-1s", "+1s", "1.5h", "1h30", "1 h", "1S", "1hour", "1s ", "36501d",
        "36500d1ms", "9223372036854775807d", "9223372036854775808ms", "99999999999999999999s"}) {
    INFO(text);
    CHECK_FALSE(parse_duration(text));
  }
}
