#include "examples/cli/signal_name.hpp"

#include <doctest/doctest.h>

#include <csignal>

using cli::parse_signal;

TEST_CASE("cli: signals by name and number") {
  CHECK(parse_signal("TERM") == SIGTERM);
  CHECK(parse_signal("SIGHUP") == SIGHUP);
  CHECK(parse_signal("9") == SIGKILL);
  CHECK(parse_signal("64") == 64);
  for (const char* text : {"", "0", "-9", "65", "9x", "SIG", "term", "SIGSIGTERM", "NOSUCH"}) {
    INFO(text);
    CHECK_FALSE(parse_signal(text));
  }
}
