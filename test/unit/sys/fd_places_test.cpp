#include "sys/fd_places.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <vector>

using namespace microvm;
using base::Fd;

namespace {

struct Ends {
  Ends() {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    out.reset(ends[0]);
    in.reset(ends[1]);
  }
  [[nodiscard]] bool is_over() const {
    pollfd end{out.get(), POLLIN, 0};
    return ::poll(&end, 1, 0) == 1 && (end.revents & POLLHUP) != 0;
  }
  Fd out;
  Fd in;
};

}  // namespace

TEST_CASE("fd places: what is put there has a low number, and is closed when it goes") {
  sys::FdPlaces places;
  places.take(1);
  std::vector<Fd> many;
  for (int i = 0; i < 50; ++i) many.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  for (int round = 0; round < 3; ++round) {
    Ends pipe;
    const int high = pipe.in.get();
    {
      const auto placed = places.put(std::move(pipe.in));
      CHECK(placed.get() < many.front().get());
      CHECK(::fcntl(placed.get(), F_GETFD) == FD_CLOEXEC);
      CHECK(::fcntl(high, F_GETFD) == -1);
      CHECK_FALSE(pipe.is_over());
    }
    CHECK(pipe.is_over());
  }
}

TEST_CASE("fd places: where none is free a file stays where it is") {
  sys::FdPlaces places;
  places.take(1);
  Ends first;
  Ends second;
  const int stood_at = second.in.get();
  {
    const auto placed = places.put(std::move(first.in));
    const auto unplaced = places.put(std::move(second.in));
    CHECK(placed.get() != unplaced.get());
    CHECK(unplaced.get() == stood_at);
  }
  CHECK(first.is_over());
  CHECK(second.is_over());
}
