#include "host/vm/waiting_calls.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

using namespace microvm::host;
using Place = std::optional<WaitingCalls::Place>;

TEST_CASE("waiting calls: so many for each vm, and one that goes makes room") {
  WaitingCalls calls(2);
  Place first, second, other;
  CHECK(calls.enter("a", first));
  CHECK(calls.enter("a", second));
  {
    Place third;
    CHECK_FALSE(calls.enter("a", third));
    CHECK(calls.enter("b", other));
  }
  first.reset();
  Place again;
  CHECK(calls.enter("a", again));
}

TEST_CASE("waiting calls: threads that come and go leave nothing counted") {
  WaitingCalls calls(3);
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        for (int round = 0; round < 1000; ++round) {
          Place place;
          if (!calls.enter("a", place)) continue;
          const int now = ++inside;
          for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
          }
          --inside;
        }
      });
    }
  }
  CHECK(most > 0);
  CHECK(most <= 3);
  Place first, second, third;
  CHECK(calls.enter("a", first));
  CHECK(calls.enter("a", second));
  CHECK(calls.enter("a", third));
}
