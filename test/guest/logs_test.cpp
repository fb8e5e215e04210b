// The logs of a Vm over the lives of its worker, and its death.
#include <signal.h>

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
  auto log = vm.follow_logs(LogSource::app);
  REQUIRE_MESSAGE(log, why(log));
  std::string text;
  const auto comes = [&](const std::string& line) {
    return eventually([&] {
      for (auto piece = log->try_read(); piece && *piece; piece = log->try_read()) text += **piece;
      return has_text(text, line);
    });
  };
  for (int life = 0; life < 3; ++life) {
    http_get(vm, "/life-" + std::to_string(life));
    CHECK(comes("GET /life-" + std::to_string(life)));
    const auto slept = vm.suspend();
    CHECK_MESSAGE(slept, why(slept));
    CHECK(log->try_read().error().code == ErrorCode::would_block);
  }
  http_get(vm, "/life-3");
  CHECK(comes("GET /life-3"));
  CHECK(vm.terminate());
  const CallLimits in_time{.cancel = nullptr, .timeout = std::chrono::seconds(60)};
  auto piece = log->read(in_time);
  for (; piece && *piece; piece = log->read(in_time)) text += **piece;
  CHECK_MESSAGE(piece, why(piece));
  for (int life = 0; life < 4; ++life) {
    CHECK(times(text, "GET /life-" + std::to_string(life)) == 1);
  }
}
