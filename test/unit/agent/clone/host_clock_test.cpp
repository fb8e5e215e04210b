#include "agent/clone/host_clock.hpp"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

// What to do about the clock; that it is done is seen in guests, whose clocks may be set.
namespace microvm::agent {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kHour = 3600 * 1000 * kMs;
constexpr int64_t kNow = 1'800'000'000'000 * kMs;  // 2027

// Asked of a host that is ahead by this much, in the middle of `took`.
ClockChange judge(int64_t ahead, int64_t took = 2 * kMs) {
  return judge_clock({.host_ns = kNow + ahead, .asked_ns = 0, .answered_ns = took},
                     kNow + took / 2);
}

struct Streams {
  Streams() {
    std::array<int, 2> ends{};
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) == 0);
    host.reset(ends[0]);
    guest.reset(ends[1]);
  }
  void tell(const void* bytes, size_t size) const {
    REQUIRE(write(host.get(), bytes, size) == static_cast<ssize_t>(size));
  }
  base::Fd host;
  base::Fd guest;
};

}  // namespace

TEST_CASE("host clock: what is far off is stepped, a little slewed, and nothing for nothing") {
  for (const int64_t sign : {1, -1}) {
    CHECK(judge(sign * kHour).move == ClockMove::step);
    CHECK(judge(sign * kHour).by_ns == sign * kHour);
    CHECK(judge(sign * 101 * kMs).move == ClockMove::step);
    CHECK(judge(sign * 100 * kMs).move == ClockMove::slew);
    CHECK(judge(sign * 100 * kMs).by_ns == sign * 100 * kMs);
    CHECK(judge(sign * 2 * kMs).move == ClockMove::slew);
    CHECK(judge(sign * kMs).move == ClockMove::none);
  }
  CHECK(judge(0).move == ClockMove::none);
}

TEST_CASE("host clock: an answer that took long says nothing of what is less than that") {
  constexpr int64_t kTook = 3000 * kMs;  // of a guest whose processor was taken away
  CHECK(judge(1500 * kMs, kTook).move == ClockMove::none);
  CHECK(judge(-1500 * kMs, kTook).move == ClockMove::none);
  CHECK(judge(1501 * kMs, kTook).move == ClockMove::step);
  CHECK(judge(-kHour, kTook).by_ns == -kHour);
}

TEST_CASE("host clock: a host that closes is asked at once, one that refuses ever more rarely") {
  constexpr int64_t kLongMs = 60'000;
  CHECK(pause_before_asking_ms(0, true, kLongMs) == 0);
  CHECK(pause_before_asking_ms(8000, true, kLongMs) == 0);
  CHECK(pause_before_asking_ms(0, false, kLongMs) == 500);  // a restore broke it
  CHECK(pause_before_asking_ms(8000, false, kLongMs) == 500);
  CHECK(pause_before_asking_ms(0, true, 1) == 50);  // the clock was set just then
  for (const bool told : {true, false}) {
    int64_t pause_ms = 0;
    int64_t all_ms = 0;
    for (int attempt = 0; attempt < 100; ++attempt) {
      pause_ms = pause_before_asking_ms(pause_ms, told, 1);
      all_ms += pause_ms;
    }
    CHECK(pause_ms == 60'000);
    CHECK(all_ms > 90 * 60'000);
  }
}

TEST_CASE("host clock: the host's answer, whole or not at all") {
  const int64_t now = kNow;
  SUBCASE("whole, and more that a later host may say") {
    const Streams streams;
    streams.tell(&now, sizeof now);
    streams.tell("more", 4);
    const auto time = read_host_time(streams.guest.get(), 17);
    REQUIRE(time);
    CHECK(time->host_ns == now);
    CHECK(time->asked_ns == 17);
    CHECK(time->answered_ns > 17);
  }
  SUBCASE("cut short") {
    Streams streams;
    streams.tell(&now, sizeof now - 1);
    streams.host.reset();
    const auto time = read_host_time(streams.guest.get(), 17);
    REQUIRE_FALSE(time);
    CHECK(time.error().error == EPROTO);
  }
  SUBCASE("no time") {
    const int64_t before_1970 = -1;
    const Streams streams;
    streams.tell(&before_1970, sizeof before_1970);
    CHECK_FALSE(read_host_time(streams.guest.get(), 17));
  }
}

}  // namespace microvm::agent
