#include "host/vm/errands.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <memory>

using namespace microvm::host;
using std::chrono::milliseconds;

TEST_CASE("errands: one that takes its time holds up no other") {
  Errands errands;
  std::promise<void> go_on;
  const auto held = go_on.get_future().share();
  // All but one thread are in the middle of something.
  for (size_t i = 1; i < Errands::kMaxThreads; ++i) {
    CHECK(errands.add([held] { held.wait(); }));
  }
  for (int i = 0; i < 100; ++i) {
    std::promise<void> done;
    CHECK(errands.add([&] { done.set_value(); }));
    CHECK(done.get_future().wait_for(std::chrono::seconds(20)) == std::future_status::ready);
  }
  go_on.set_value();
}

TEST_CASE("errands: one that is due later comes later, and lets the others pass") {
  Errands errands;
  const auto start = std::chrono::steady_clock::now();
  std::promise<void> late;
  std::promise<void> soon;
  std::atomic<bool> late_is_done{false};
  CHECK(errands.add(
      [&] {
        late_is_done = true;
        late.set_value();
      },
      milliseconds(150)));
  CHECK(errands.add([&] { soon.set_value(); }));
  soon.get_future().wait();
  CHECK_FALSE(late_is_done);
  late.get_future().wait();
  CHECK(std::chrono::steady_clock::now() - start >= milliseconds(150));
}

TEST_CASE("errands: stop waits for those under way and drops the rest with what they hold") {
  Errands errands;
  std::promise<void> begun;
  std::atomic<bool> done{false};
  CHECK(errands.add([&] {
    begun.set_value();
    std::this_thread::sleep_for(milliseconds(50));
    done = true;
  }));
  begun.get_future().wait();
  auto held = std::make_shared<int>(1);
  const std::weak_ptr<int> seen = held;
  CHECK(errands.add([held = std::move(held)] { CHECK(false); }, std::chrono::hours(1)));
  errands.stop();
  CHECK(done);
  CHECK(seen.expired());
  CHECK_FALSE(errands.add([] {}));
}
