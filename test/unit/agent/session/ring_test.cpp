#include "agent/session/ring.hpp"

#include <doctest/doctest.h>

#include <string>

namespace microvm::agent {
namespace {

std::string text_of(const Ring& ring, uint64_t position) {
  std::string text(ring.end() - position, '\0');
  text.resize(ring.copy(position, std::as_writable_bytes(std::span(text))).size);
  return text;
}

void put(Ring& ring, std::string_view text) {
  ring.append(std::as_bytes(std::span(text)));
}

}  // namespace

TEST_SUITE("agent ring") {
  TEST_CASE("keeps the last bytes, over its end and in any pieces") {
    Ring ring(10);
    std::string all;
    for (int i = 0; i < 40; i++) {
      const std::string piece(static_cast<size_t>(i % 13), static_cast<char>('a' + i % 26));
      put(ring, piece);
      all += piece;
      REQUIRE(ring.end() == all.size());
      CHECK(text_of(ring, ring.begin()) ==
            all.substr(all.size() - std::min<size_t>(10, all.size())));
    }
  }

  TEST_CASE("a new reader starts at a line, or at least at a character") {
    Ring ring(8);
    put(ring, "one\ntwo");
    CHECK(ring.clean_begin() == 0);
    put(ring, "three");  // "otwothree" without its first bytes
    CHECK(text_of(ring, ring.clean_begin()) == "twothree");
    put(ring, "\nxy");
    CHECK(text_of(ring, ring.clean_begin()) == "xy");
    Ring accents(5);
    put(accents, "a\u00e9\u00e9\u00e9");
    CHECK(text_of(accents, accents.begin()) == "\xa9\u00e9\u00e9");
    CHECK(text_of(accents, accents.clean_begin()) == "\u00e9\u00e9");
  }

  TEST_CASE("shrinks to its last bytes and goes on") {
    Ring ring(100);
    put(ring, "0123456789");
    ring.shrink(4);
    CHECK(ring.begin() == 6);
    CHECK(text_of(ring, ring.begin()) == "6789");
    put(ring, "ab");
    CHECK(text_of(ring, ring.begin()) == "89ab");
  }
}

}  // namespace microvm::agent
