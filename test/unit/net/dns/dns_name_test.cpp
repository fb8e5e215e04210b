#include "net/dns/dns_name.hpp"

#include <doctest/doctest.h>

#include "made_message.hpp"

using namespace microvm;
using namespace microvm::net;
using namespace microvm::test;

namespace {

std::string with_padding(const std::string& name, size_t before) {
  return std::string(before, 'p') + name;
}

}  // namespace

TEST_CASE("dns name: plain and compressed, and where each ends") {
  const std::string message = wire_name_of("b.example") +
                              "\x01"
                              "a" +
                              pointer(2) + pointer(0) + "x";
  const auto bytes = wire::as_bytes(message);
  const auto plain = read_name(bytes, 0);
  REQUIRE(plain);
  CHECK(text_of(plain->name) == "b.example");
  CHECK(plain->end == 11);
  CHECK(skip_name(bytes, 0) == 11);
  const auto compressed = read_name(bytes, 11);
  REQUIRE(compressed);
  CHECK(text_of(compressed->name) == "a.example");
  CHECK(compressed->end == 15);
  CHECK(skip_name(bytes, 11) == 15);
  const auto all = read_name(bytes, 15);
  REQUIRE(all);
  CHECK(text_of(all->name) == "b.example");
  CHECK(all->end == 17);
}

TEST_CASE("dns name: loops, ways forward, cuts and names that are too long") {
  const std::string label63 = std::string(1, 63) + std::string(63, 'a');
  const std::string too_long = label63 + label63 + label63 + label63 + std::string(1, '\0');
  struct Row {
    const char* what;
    std::string bytes;
    size_t at;
  };
  const Row rows[] = {
      {"to itself", pointer(0), 0},
      {"to each other", pointer(2) + pointer(0), 2},
      {"back to its own label",
       "\x01"
       "a" +
           pointer(0),
       0},
      {"forward", pointer(2) + std::string(1, '\0'), 0},
      {"out of the message", pointer(100), 0},
      {"half a pointer", "\xc0", 0},
      {"a label of the first kind never made",
       "\x40"
       "aaaa",
       0},
      {"of the other",
       "\x80"
       "aaaa",
       0},
      {"a label that is cut",
       "\x05"
       "ab",
       0},
      {"no end",
       "\x01"
       "a",
       0},
      {"nothing", "", 0},
      {"behind the end", "a", 5},
      {"256 bytes", too_long, 0},
  };
  for (const Row& row : rows) {
    CAPTURE(row.what);
    CHECK_FALSE(read_name(wire::as_bytes(row.bytes), row.at).has_value());
  }
  const std::string longest = label63 + label63 + label63 + std::string(1, 61) +
                              std::string(61, 'b') + std::string(1, '\0');
  CHECK(read_name(wire::as_bytes(longest), 0).has_value());
}

TEST_CASE("dns name: pointers to pointers are counted") {
  std::string message(1, '\0');
  size_t last = 0;
  for (size_t i = 0; i < 1000; ++i) {
    const size_t at = message.size();
    message += pointer(last);
    last = at;
    CHECK(read_name(wire::as_bytes(message), at).has_value() == (i < 32));
  }
  CHECK(skip_name(wire::as_bytes(with_padding(message, 0)), last) == last + 2);
}

TEST_CASE("dns name: those that are no host's have no text") {
  CHECK(text_of(wire_name_of("A.Example")) == "a.example");
  CHECK_FALSE(text_of(std::string("\x0b"
                                  "a.evil.org.\0",
                                  13))
                  .has_value());
  CHECK_FALSE(text_of(std::string("\x01\xff\0", 3)).has_value());
  CHECK_FALSE(text_of(std::string("\x01\0\0", 3)).has_value());
  CHECK_FALSE(text_of(std::string(1, '\0')).has_value());
  CHECK(folded(wire_name_of("A.eXample")) == wire_name_of("a.example"));
}
