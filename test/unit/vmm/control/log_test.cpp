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
