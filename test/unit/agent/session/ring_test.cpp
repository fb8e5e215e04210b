#include "agent/session/ring.hpp"

#include <doctest/doctest.h>

#include <random>
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

  TEST_CASE("keeps two streams apart, in their order") {
    std::mt19937 random(7);
    for (const size_t capacity : {1, 63, 64, 65, 1000}) {
      Ring ring(capacity, Ring::Streams::both);
      std::string all;
      std::string streams;
      for (int i = 0; i < 300; i++) {
        const std::string piece(random() % 150, static_cast<char>('a' + i % 26));
        const auto stream = random() % 2 == 0 ? OutputStream::out : OutputStream::err;
        ring.append(std::as_bytes(std::span(piece)), stream);
        all += piece;
        streams += std::string(piece.size(), stream == OutputStream::out ? 'o' : 'e');
        if (i == 200) ring.shrink(std::max<size_t>(capacity / 2, 1));
        std::string text;
        std::string tags;
        for (uint64_t at = ring.begin(); at < ring.end();) {
          std::string out(1 + random() % 200, '\0');
          const auto copied = ring.copy(at, std::as_writable_bytes(std::span(out)));
          REQUIRE(copied.size > 0);
          text += out.substr(0, copied.size);
          tags += std::string(copied.size, copied.stream == OutputStream::out ? 'o' : 'e');
          at += copied.size;
        }
        REQUIRE(text == all.substr(all.size() - text.size()));
        REQUIRE(tags == streams.substr(streams.size() - tags.size()));
        REQUIRE(text.size() == std::min<size_t>(all.size(), ring.capacity()));
      }
    }
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
