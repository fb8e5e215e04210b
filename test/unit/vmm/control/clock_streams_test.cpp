#include "vmm/control/clock_streams.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <optional>
#include <vector>

#include "sys/socket.hpp"

// That the timer rings when the clock is set is seen in guest/clock_test.cpp: not here, where it
// would be the developer's.
using namespace microvm;
using namespace std::chrono_literals;
using sys::Loop;
using vmm::control::ClockStreams;

namespace {

// The guest's end of a new stream.
base::Fd ask(ClockStreams& streams) {
  auto pair = sys::stream_pair();
  REQUIRE(pair);
  streams.add(std::move(pair->first));
  return std::move(pair->second);
}

// nullopt: nothing has come; 0: the end.
std::optional<int64_t> take(const base::Fd& stream) {
  int64_t value = 0;
  const ssize_t got = ::recv(stream.get(), &value, sizeof value, MSG_DONTWAIT);
  if (got == sizeof value) return value;
  if (got == 0) return 0;
  CHECK(errno == EAGAIN);
  return std::nullopt;
}

int64_t wall_clock_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

void settle(Loop& loop) {
  for (int i = 0; i < 6; ++i) loop.run_once(1ms);
}

size_t open_fds() {
  const std::filesystem::directory_iterator fds("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(fds), end(fds)));
}

}  // namespace

TEST_CASE("clock streams: who asks is told the time, and to ask again after a while") {
  for (const auto backend : {Loop::Backend::automatic, Loop::Backend::plain}) {
    const auto loop = std::move(*Loop::create(backend));
    ClockStreams streams(*loop, 300ms);
    for (int round = 0; round < 2; ++round) {
      const int64_t before = wall_clock_ns();
      const base::Fd stream = ask(streams);
      const base::Fd other = ask(streams);
      const auto told = take(stream);
      REQUIRE(told);
      CHECK(*told >= before);
      CHECK(*told <= wall_clock_ns());
      CHECK(take(other));
      settle(*loop);
      CHECK_FALSE(take(stream));
      const auto deadline = std::chrono::steady_clock::now() + 10s;
      std::optional<int64_t> end;
      while (!end && std::chrono::steady_clock::now() < deadline) {
        loop->run_once(10ms);
        end = take(stream);
      }
      CHECK(end == 0);
      CHECK(take(other) == 0);
    }
  }
}

TEST_CASE("clock streams: a guest that asks without end is answered, and holds a few fds") {
  const auto loop = std::move(*Loop::create());
  ClockStreams streams(*loop);
  std::vector<base::Fd> held;
  const size_t before = open_fds();
  for (size_t i = 0; i < 5 * ClockStreams::kMaxStreams; ++i) {
    held.push_back(ask(streams));
    CHECK(*take(held.back()) > 0);
    settle(*loop);
  }
  CHECK(open_fds() == before + held.size() + ClockStreams::kMaxStreams + 1);
  CHECK_FALSE(take(held.front()));
  CHECK(take(held.back()) == 0);

  // Those that end, or speak, make room.
  held[0].reset();
  CHECK(::send(held[1].get(), "x", 1, 0) == 1);
  settle(*loop);
  const base::Fd next = ask(streams);
  CHECK(*take(next) > 0);
  settle(*loop);
  CHECK_FALSE(take(next));
}
