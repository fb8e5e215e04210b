#include "state/crc32c.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace microvm;

TEST_CASE("crc32c: the check value of the standard, and both ways agree") {
  const auto digits = wire::as_bytes("123456789");
  CHECK(state::crc32c(digits) == 0xe3069283);
  CHECK(state::crc32c_portable(digits) == 0xe3069283);
  const std::string text(1001, 'x');
  CHECK(state::crc32c(wire::as_bytes(text)) == state::crc32c_portable(wire::as_bytes(text)));
}

TEST_CASE("crc32c: in parts it is the same as in one go") {
  const auto digits = wire::as_bytes("123456789");
  CHECK(state::crc32c(digits.subspan(4), state::crc32c(digits.first(4))) == 0xe3069283);
}
