// The pool of shaped workers, with real ones.
#include "host/worker/worker_pool.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <thread>

#include "unit/without_streams.hpp"

using namespace microvm;
using namespace microvm::host;
using namespace std::chrono_literals;

namespace {

constexpr Shape kShape{.memory_bytes = 2 << 20, .vcpus = 1};

// Of this process, ended ones that nobody has reaped too.
size_t children() {
  size_t count = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(task.path() / "children");
    for (std::string pid; file >> pid;) ++count;
  }
  return count;
}

bool wait_for_children(size_t wanted) {
  for (int round = 0; round < 1000; ++round) {
    if (children() == wanted) return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

// One that is ending and one that is just starting are as many, for a moment.
bool comes_to_rest_at(size_t count) {
  constexpr int kLooks = 30;
  int in_a_row = 0;
  for (int i = 0; i < 1000 && in_a_row < kLooks; ++i) {
    in_a_row = children() == count ? in_a_row + 1 : 0;
    std::this_thread::sleep_for(10ms);
  }
  return in_a_row == kLooks;
}

}  // namespace

TEST_CASE("pool: it is filled while the reactor is at work, and on nobody's time") {
  const auto reactor = Reactor::create();
  REQUIRE(reactor);
  WorkerPool pool(std::make_shared<WorkerSpawner>(), **reactor);
  pool.keep(kShape, 2);
  std::promise<void> held;
  (*reactor)->post([until = held.get_future().share()] { until.wait(); });
  const size_t before = children();
  pool.fill_in_background(kShape);
  CHECK(comes_to_rest_at(before + 2));
  held.set_value();

  const auto taken = pool.take(kShape, Limits(CallLimits{}));
  REQUIRE(taken);
  CHECK(children() == before + 2);  // it was there
  pool.fill_in_background(kShape);
  CHECK(wait_for_children(before + 3));
}

TEST_CASE(
    "pool: after its stop nothing is started in the background, and what waits goes with it") {
  const auto reactor = Reactor::create();
  REQUIRE(reactor);
  const size_t before = children();
  {
    WorkerPool pool(std::make_shared<WorkerSpawner>(), **reactor);
    pool.keep(kShape, 1);
    REQUIRE(pool.fill(kShape));
    CHECK(children() == before + 1);
    pool.stop();
    pool.keep(kShape, 2);
    pool.fill_in_background(kShape);
    std::this_thread::sleep_for(50ms);
    CHECK(children() == before + 1);
  }
  CHECK(wait_for_children(before));
}

TEST_CASE("pool: workers start in a process without standard streams") {
  CHECK(test::holds_without_streams([] {
    const auto reactor = Reactor::create();
    if (!reactor) return false;
    WorkerPool pool(std::make_shared<WorkerSpawner>(), **reactor);
    const auto taken = pool.take(kShape, Limits({nullptr, 30s}));
    return taken && test::low_fds_are_free();
  }));
}

TEST_CASE("pool: who takes a worker and fails leaves it as full as before") {
  const auto reactor = Reactor::create();
  REQUIRE(reactor);
  WorkerPool pool(std::make_shared<WorkerSpawner>(), **reactor);
  pool.keep(kShape, 2);
  REQUIRE(pool.fill(kShape));
  const size_t full = children();
  {
    const PoolRefill refill(pool, kShape);
    const auto taken = pool.take(kShape, Limits(CallLimits{}));
    REQUIRE(taken);
  }  // its launch has failed
  CHECK(comes_to_rest_at(full));
  {
    // Its taker gives up, or gets one that nobody starts.
    CancelToken cancelled;
    cancelled.cancel();
    const PoolRefill refill(pool, kShape);
    static_cast<void>(pool.take(kShape, Limits({.cancel = &cancelled})));
  }
  CHECK(comes_to_rest_at(full));
  const auto first = pool.take(kShape, Limits(CallLimits{}));
  const auto second = pool.take(kShape, Limits(CallLimits{}));
  REQUIRE((first && second));
  CHECK(children() == full);  // both were there
}

TEST_CASE("pool: filling it obeys its limits; what was started stays") {
  const auto reactor = Reactor::create();
  REQUIRE(reactor);
  WorkerPool pool(std::make_shared<WorkerSpawner>(), **reactor);
  pool.keep(kShape, 1);
  CancelToken cancelled;
  cancelled.cancel();
  const size_t before = children();
  CHECK(pool.fill(kShape, Limits({.cancel = &cancelled})).error().code == ErrorCode::cancelled);
  CHECK(children() == before);
  CHECK(pool.fill(kShape));
  CHECK(children() == before + 1);
}
