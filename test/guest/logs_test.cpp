// The logs of a Vm over the lives of its worker, and its death.
#include <signal.h>

#include <mutex>
#include <thread>

#include "fixture.hpp"

using namespace microvm;
using namespace guest_test;

namespace {

bool has_text(const std::string& text, std::string_view what) {
  return text.find(what) != std::string::npos;
}

size_t times(const std::string& text, std::string_view what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

}  // namespace

TEST_CASE("logs: of a vm whose worker was killed they are there as far as they had come") {
  RunningVm vm = run_detached();
  for (int i = 0; i < 3; ++i) http_get(vm, "/killed-" + std::to_string(i));
  const auto printed = [&] { return has_text(*vm.logs(LogSource::app), "GET /killed-2"); };
  REQUIRE(eventually(printed));
  std::this_thread::sleep_for(std::chrono::seconds(2));
  const std::string before = *vm.logs(LogSource::app);
  REQUIRE(::kill(static_cast<pid_t>(vm.info()->worker_pid), SIGKILL) == 0);
  REQUIRE(eventually([&] { return vm.info()->state == VmState::terminated; }));
  CHECK(*vm.logs(LogSource::app) == before);
  const auto other = runtime().attach(vm.id());
  REQUIRE(other);
  CHECK(*Vm(*other).logs(LogSource::app) == before);
  CHECK(has_text(run_cli({"logs", "-n", "1", vm.id()}).out, "GET /killed-2"));
}

TEST_CASE("logs: who follows them goes on over suspend and resume, with each line once") {
  RunningVm vm = run_detached();
  std::mutex mutex;
  std::string text;
  const auto seen = [&] {
    const std::scoped_lock lock(mutex);
    return text;
  };
  Result<void> ended;
  std::thread follower([&] {
    ended = vm.follow_logs(LogSource::app, [&](std::string_view piece) {
      const std::scoped_lock lock(mutex);
      text += piece;
    });
  });
  for (int life = 0; life < 3; ++life) {
    const std::string line = "GET /life-" + std::to_string(life);
    http_get(vm, "/life-" + std::to_string(life));
    CHECK(eventually([&] { return has_text(seen(), line); }));
    const auto slept = vm.suspend();
    CHECK_MESSAGE(slept, why(slept));
  }
  http_get(vm, "/life-3");
  CHECK(eventually([&] { return has_text(seen(), "GET /life-3"); }));
  CHECK(vm.terminate());
  follower.join();
  CHECK_MESSAGE(ended, why(ended));
  for (int life = 0; life < 4; ++life) {
    CHECK(times(seen(), "GET /life-" + std::to_string(life)) == 1);
  }
}
