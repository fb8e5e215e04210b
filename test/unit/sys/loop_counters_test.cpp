// Eventfds of a loop: counters that it takes, and those that it raises.
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "sys/loop_cases.hpp"

using namespace microvm;
using namespace microvm::test;
using namespace std::chrono_literals;
using base::Fd;
using sys::Loop;

LOOP_TEST_CASE("a counter is given each time it is not zero, and begins anew") {
  const Fd counter(eventfd(0, EFD_CLOEXEC));
  std::vector<uint64_t> seen;
  const auto id = loop.watch_counter(counter.get(), [&](uint64_t count) { seen.push_back(count); });
  for (int i = 0; i < 3; ++i) loop.run_once(1ms);
  CHECK(seen.empty());
  for (const uint64_t count : {2, 1, 5}) {
    REQUIRE(::eventfd_write(counter.get(), count) == 0);
    CHECK(run_loop_until(loop, [&, before = seen.size()] { return seen.size() > before; }));
  }
  for (int i = 0; i < 3; ++i) loop.run_once(1ms);
  CHECK(seen == std::vector<uint64_t>{2, 1, 5});
  loop.unwatch(id);
  loop.unwatch(id);
  REQUIRE(::eventfd_write(counter.get(), 1) == 0);
  for (int i = 0; i < 3; ++i) loop.run_once(1ms);
  CHECK(seen.size() == 3);
}

LOOP_TEST_CASE("a counter's handler may unwatch itself, and drain, and is not entered twice") {
  const Fd counter(eventfd(0, EFD_CLOEXEC));
  int calls = 0;
  int depth = 0;
  Loop::WatchId id = 0;
  const auto owned = std::make_shared<int>(0);
  id = loop.watch_counter(counter.get(), [&, owned](uint64_t) {
    CHECK(++depth == 1);
    if (++calls == 1) {
      REQUIRE(::eventfd_write(counter.get(), 1) == 0);
      for (int i = 0; i < 3; ++i) loop.run_once(1ms);
    } else {
      loop.unwatch(id);
    }
    ++*owned;  // the handler's own captures are alive to its end
    --depth;
  });
  REQUIRE(::eventfd_write(counter.get(), 1) == 0);
  CHECK(run_loop_until(loop, [&] { return calls == 2; }));
  CHECK(*owned == 2);
  REQUIRE(::eventfd_write(counter.get(), 1) == 0);
  for (int i = 0; i < 3; ++i) loop.run_once(1ms);
  CHECK(calls == 2);
}

LOOP_TEST_CASE("a counter closed after unwatch is really closed, and a bad one says nothing") {
  int calls = 0;
  loop.watch_counter(1'000'000, [&](uint64_t) { ++calls; });
  const auto id = loop.watch_counter(eventfd(0, EFD_CLOEXEC), [&](uint64_t) { ++calls; });
  for (int i = 0; i < 3; ++i) loop.run_once(1ms);
  loop.unwatch(id);
  CHECK(calls == 0);
}

LOOP_TEST_CASE("what a handler raises goes out before the next wait, once for all its calls") {
  const Fd counter(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  eventfd_t count = 0;
  loop.post([&] {
    loop.raise(counter.get());
    loop.raise(counter.get());
    CHECK(::eventfd_read(counter.get(), &count) == -1);
    loop.after(1ms, [&] {
      CHECK(::eventfd_read(counter.get(), &count) == 0);
      CHECK(count == 1);
      loop.raise(counter.get());
      loop.flush_raised();
      CHECK(::eventfd_read(counter.get(), &count) == 0);
      loop.raise(counter.get());
      loop.stop();
    });
  });
  loop.run();
  CHECK(::eventfd_read(counter.get(), &count) == 0);
  CHECK(count == 1);
}

LOOP_TEST_CASE("what another thread raises, or nobody's loop, goes out at once") {
  const Fd counter(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  eventfd_t count = 0;
  loop.raise(counter.get());
  CHECK(::eventfd_read(counter.get(), &count) == 0);
  loop.post([&] {
    std::thread([&] { loop.raise(counter.get()); }).join();
    CHECK(::eventfd_read(counter.get(), &count) == 0);
  });
  loop.run_once(1ms);
  CHECK(count == 1);
}

LOOP_TEST_CASE("raising does not end a wait, a full counter does no harm") {
  const Fd counter(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  REQUIRE(::eventfd_write(counter.get(), UINT64_MAX - 1) == 0);
  std::vector<Fd> more;
  for (int i = 0; i < 200; ++i) more.emplace_back(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  loop.post([&] {
    loop.raise(counter.get());
    for (const Fd& fd : more) loop.raise(fd.get());
  });
  bool fired = false;
  loop.after(20ms, [&] { fired = true; });
  int rounds = 0;
  while (!fired && rounds < 100) {
    loop.run_once(5s);
    ++rounds;
  }
  CHECK(rounds < 10);
  eventfd_t count = 0;
  for (const Fd& fd : more) CHECK(::eventfd_read(fd.get(), &count) == 0);
}
