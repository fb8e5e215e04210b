#include "vmm/platform/log_ring.hpp"

#include <doctest/doctest.h>

#include <array>
#include <string>

using namespace microvm;
using namespace microvm::vmm;

namespace {

void append(LogRing& ring, std::string_view text) {
  ring.append(wire::as_bytes(text));
}

std::string contents(const LogRing& ring) {
  return std::string(wire::as_text(ring.contents()));
}

bool detects(std::string_view text, std::initializer_list<std::string_view> pieces) {
  TextDetector detector(text);
  for (const auto piece : pieces) detector.feed(wire::as_bytes(piece));
  return detector.found();
}

}  // namespace

TEST_CASE("log ring: keeps the last bytes") {
  LogRing ring(8);
  CHECK(contents(ring).empty());
  append(ring, "abcde");
  CHECK(contents(ring) == "abcde");
  append(ring, "fghij");
  CHECK(contents(ring) == "cdefghij");
  CHECK(ring.begin() == 2);
  CHECK(ring.end() == 10);
}

TEST_CASE("log ring: more than its size at once leaves the tail") {
  LogRing ring(4);
  append(ring, "x");
  append(ring, "0123456789");
  CHECK(contents(ring) == "6789");
  CHECK(ring.end() == 11);
}

TEST_CASE("log ring: a follower gets every byte once") {
  LogRing ring(16);
  append(ring, "hello ");
  std::array<std::byte, 4> part{};
  auto chunk = ring.read(0, part);
  CHECK(wire::as_text(std::span(part).first(chunk.bytes)) == "hell");
  chunk = ring.read(chunk.next, part);
  CHECK(wire::as_text(std::span(part).first(chunk.bytes)) == "o ");
  CHECK(ring.read(chunk.next, part).bytes == 0);
  append(ring, "all");
  chunk = ring.read(chunk.next, part);
  CHECK(wire::as_text(std::span(part).first(chunk.bytes)) == "all");
}

TEST_CASE("log ring: a follower that is too slow goes on with what is left") {
  LogRing ring(4);
  append(ring, "abcdefgh");
  std::array<std::byte, 8> part{};
  const auto chunk = ring.read(1, part);
  CHECK(wire::as_text(std::span(part).first(chunk.bytes)) == "efgh");
  CHECK(chunk.next == 8);
}

TEST_CASE("log ring: a position ahead of the stream reads nothing") {
  LogRing ring(4);
  append(ring, "ab");
  std::array<std::byte, 4> part{};
  const auto chunk = ring.read(99, part);
  CHECK(chunk.bytes == 0);
  CHECK(chunk.next == 2);
}

TEST_CASE("text detector: finds the text in pieces of any size") {
  CHECK(detects(kPanicText, {"[ 1.0] Kernel pan", "ic - not", " syncing: VFS"}));
  CHECK(detects("aab", {"aaa", "b"}));
  CHECK(detects("abab", {"aba", "abab"}));
  CHECK_FALSE(detects(kPanicText, {"Kernel panic", " - syncing"}));
  CHECK_FALSE(detects("abc", {"ab", "ab"}));
}

TEST_CASE("log ring: what was loaded ends where it is said to end") {
  LogRing ring(8);
  append(ring, "lost");
  ring.load(wire::as_bytes("abc"), 100);
  CHECK(contents(ring) == "abc");
  CHECK(ring.begin() == 97);
  append(ring, "defghi");
  CHECK(contents(ring) == "bcdefghi");
  CHECK(ring.begin() == 98);
  ring.load(wire::as_bytes("0123456789"), 200);
  CHECK(contents(ring) == "23456789");
  ring.load({}, 300);
  CHECK(contents(ring).empty());
  CHECK(ring.begin() == 300);
}
