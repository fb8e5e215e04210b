#include "vmm/control/log.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <string>

using namespace microvm;
using sys::Loop;
using vmm::control::Log;

namespace {

std::string read_some(const base::Fd& reader) {
  ::fcntl(reader.get(), F_SETFL, O_NONBLOCK);
  std::string text(4096, '\0');
  const ssize_t got = ::read(reader.get(), text.data(), text.size());
  text.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return text;
}

void settle(Loop& loop) {
  for (int i = 0; i < 6; ++i) loop.run_once(std::chrono::milliseconds(1));
}

}  // namespace

TEST_CASE("log: a follower gets what there is, and what comes") {
  const auto loop = std::move(*Loop::create());
  Log log(*loop);
  log.append(wire::as_bytes("before"));
  const auto follower = log.open_reader(true);
  REQUIRE(follower);
  settle(*loop);
  CHECK(read_some(*follower) == "before");
  log.append(wire::as_bytes("after"));
  settle(*loop);
  CHECK(read_some(*follower) == "after");
  log.close();
  settle(*loop);
  CHECK_FALSE(log.has_readers());
}

TEST_CASE("log: followers that leave while it is silent make room for others") {
  for (const auto backend : {Loop::Backend::automatic, Loop::Backend::plain}) {
    const auto loop = std::move(*Loop::create(backend));
    Log log(*loop);
    log.append(wire::as_bytes("all there is"));
    for (size_t i = 0; i < Log::kMaxReaders + 8; ++i) {
      auto follower = log.open_reader(true);
      REQUIRE(follower);
      settle(*loop);
      follower->reset();
      settle(*loop);
    }
    CHECK_FALSE(log.has_readers());
    const auto reader = log.open_reader(false);
    REQUIRE(reader);
    settle(*loop);
    CHECK(read_some(*reader) == "all there is");
  }
}

TEST_CASE("log: a reader at a position gets what follows, and is told where that is") {
  const auto loop = std::move(*Loop::create());
  Log log(*loop);
  log.load(wire::as_bytes("earlier "), 1000);
  CHECK(log.life_begin() == 1000);
  log.append(wire::as_bytes("now"));
  const auto text_at = [&](uint64_t from, uint64_t begin) {
    const auto opened = log.open_reader_at(from, false);
    REQUIRE(opened);
    CHECK(opened->begin == begin);
    settle(*loop);
    return read_some(opened->stream);
  };
  CHECK(text_at(0, 992) == "earlier now");
  CHECK(text_at(1000, 1000) == "now");
  CHECK(text_at(1002, 1002) == "w");
  CHECK(text_at(1003, 1003).empty());
  CHECK(text_at(UINT64_MAX, 1003).empty());
}

TEST_CASE("log: a follower with positions that is too slow comes to an end, and misses nothing") {
  const auto loop = std::move(*Loop::create());
  Log log(*loop);
  const auto opened = log.open_reader_at(0, true);
  REQUIRE(opened);
  const std::string lines(vmm::kLogRingBytes / 2, 'x');
  for (int i = 0; i < 5; ++i) {
    log.append(wire::as_bytes(lines));
    settle(*loop);
  }
  uint64_t got = 0;
  for (;;) {
    const std::string some = read_some(opened->stream);
    if (some.empty()) break;
    got += some.size();
    settle(*loop);
  }
  CHECK_FALSE(log.has_readers());
  const auto again = log.open_reader_at(got, false);
  REQUIRE(again);
  CHECK(again->begin > got);
  CHECK(again->begin == log.ring().begin());
}
