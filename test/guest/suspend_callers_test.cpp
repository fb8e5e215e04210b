// Many who want something of one Vm that sleeps, or that another process has.
#include <array>
#include <atomic>
#include <thread>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

TEST_CASE("threads that reach a vm of another process at the same time do not disturb each other") {
  RunningVm vm = run_detached();
  for (int round = 0; round < 3; ++round) {
    auto attached = runtime().attach(vm.id());
    REQUIRE_MESSAGE(attached, why(attached));
    std::array<Result<ExecResult>, 8> results;
    {
      std::vector<std::jthread> threads;
      for (auto& result : results) {
        threads.emplace_back([&] { result = attached->exec_collect({.argv = {"true"}}); });
      }
    }
    for (const auto& result : results) CHECK_MESSAGE(result, why(result));
  }
}

TEST_CASE("many callers share one resume") {
  RunningVm vm = run_counter();
  suspend(vm);
  std::atomic<int> answered{0};
  {
    std::vector<std::jthread> callers;
    for (int i = 0; i < 1000; ++i) {
      callers.emplace_back([&] {
        Vm copy = vm;
        if (copy.resume()) ++answered;
      });
    }
  }
  CHECK(answered == 1000);
  CHECK(count_workers() == 1);
  CHECK(shell(vm, "echo here") == "here\n");
}

TEST_CASE("calls beyond the limit of waiting ones are refused, and the rest is served") {
  RuntimeOptions options;
  options.data_dir = data_dir();
  options.max_waiting_calls = 4;
  auto crowded = Runtime::open(options);
  REQUIRE_MESSAGE(crowded, why(crowded));
  auto started = crowded->run("counter");
  REQUIRE_MESSAGE(started, why(started));
  RunningVm vm(std::move(*started));
  suspend(vm);
  std::atomic<int> answered{0};
  std::atomic<int> refused{0};
  {
    std::vector<std::jthread> callers;
    for (int i = 0; i < 50; ++i) {
      callers.emplace_back([&] {
        Vm copy = vm;
        const auto done = copy.exec_collect({.argv = {"true"}});
        if (done) ++answered;
        if (!done && done.error().code == ErrorCode::busy) ++refused;
      });
    }
  }
  CHECK(answered > 0);
  CHECK(refused > 0);
  CHECK(answered + refused == 50);
  CHECK(vm.terminate());
}
