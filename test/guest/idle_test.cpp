// The idle policy on a real guest: each kind of activity keeps it awake, nothing else does.
#include <atomic>
#include <optional>
#include <thread>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kIdleAfter{6000};

RunningVm run_idle(const IdlePolicy& policy) {
  RunOptions options;
  options.idle = policy;
  // An emulated guest is slow at doing nothing, too.
  options.idle.cpu_threshold = 0.4;
  return run_counter(options);
}

RunningVm run_idle() {
  IdlePolicy policy;
  policy.idle_after = kIdleAfter;
  return run_idle(policy);
}

struct Watched {
  const char* name;
  RunningVm* vm;
};

// Empty: none of them within that time.
std::string first_asleep(const std::vector<Watched>& vms, milliseconds within) {
  const auto deadline = std::chrono::steady_clock::now() + within;
  while (std::chrono::steady_clock::now() < deadline) {
    for (const Watched& each : vms) {
      if (each.vm->info()->state == VmState::suspended) return each.name;
    }
    std::this_thread::sleep_for(milliseconds(100));
  }
  return {};
}

bool falls_asleep(RunningVm& vm, milliseconds within) {
  return !first_asleep({{"it", &vm}}, within).empty();
}

constexpr milliseconds kLong = kIdleAfter * 10;
constexpr milliseconds kAwake = kIdleAfter * 3;

}  // namespace

TEST_CASE("an idle vm falls asleep, wakes for a call, and falls asleep again") {
  RunningVm vm = run_idle();
  REQUIRE(falls_asleep(vm, kLong));
  CHECK(shell(vm, "echo awake") == "awake\n");
  REQUIRE(falls_asleep(vm, kLong));
  CHECK(http_get(vm, "/") != "");
  size_t idle = 0;
  size_t woken = 0;
  for (const VmEvent& event : events_of(vm.id())) {
    if (event.kind == VmEvent::Kind::suspended && event.cause == "idle") ++idle;
    if (event.kind == VmEvent::Kind::resumed) ++woken;
  }
  CHECK(idle == 2);
  CHECK(woken == 2);
}

TEST_CASE("a resume may bring another policy, which is recorded") {
  RunningVm vm = run_detached();
  suspend(vm);
  IdlePolicy policy;
  policy.idle_after = kIdleAfter;
  policy.cpu_threshold = 0.4;
  policy.auto_resume = false;
  REQUIRE(vm.resume({.idle = policy}));
  REQUIRE(falls_asleep(vm, kLong));
  CHECK(vm.exec_collect({.argv = {"true"}}).error().code == ErrorCode::busy);
  REQUIRE(vm.resume());
  REQUIRE(falls_asleep(vm, kLong));
  REQUIRE(vm.resume({.idle = IdlePolicy{}}));
  CHECK(first_asleep({{"it", &vm}}, kIdleAfter * 2).empty());
}

// Each has a vm of its own and they wait together; what loads the processor waits by itself, below:
// beside it a guest would seem busy that is not.
TEST_CASE("a program, a terminal, a handle and the guest's own file keep a vm awake") {
  RunningVm runs = run_idle();
  auto program = std::make_optional(runs.exec({.argv = {"sleep", "1000"}}));
  REQUIRE_MESSAGE(*program, why(*program));
  RunningVm shows = run_idle();
  auto terminal = shows.pty({.argv = {"cat"}, .id = "quiet"});
  REQUIRE_MESSAGE(terminal, why(terminal));
  RunningVm held = run_idle();
  auto handle = std::make_optional(held.keep_awake());
  RunningVm asks = run_idle();
  shell(asks, "touch /run/microvm/keep-awake");
  CHECK(first_asleep({{"program", &runs}, {"terminal", &shows}, {"handle", &held}, {"file", &asks}},
                     kAwake) == "");

  program.reset();
  terminal->detach();
  handle.reset();
  shell(asks, "touch /run/microvm/suspend");
  for (RunningVm* vm : {&runs, &shows, &held, &asks}) CHECK(falls_asleep(*vm, kLong));
  const auto sessions = shows.ptys();
  REQUIRE_MESSAGE(sessions, why(sessions));
  CHECK(sessions->size() == 1);
  CHECK(shell(asks, "ls /run/microvm") == "keep-awake\n");
  CHECK_FALSE(falls_asleep(asks, kAwake));
}

TEST_CASE("a busy cpu and bytes through a port keep a vm awake") {
  RunningVm vm = run_idle();
  shell(vm, "nohup sh -c 'while :; do :; done' >/dev/null 2>&1 & echo $! > /tmp/busy");
  CHECK_FALSE(falls_asleep(vm, kAwake));
  shell(vm, "kill $(cat /tmp/busy)");
  std::atomic<bool> enough = false;
  {
    std::jthread visitor([&] {
      while (!enough) {
        http_get(vm, "/");
        std::this_thread::sleep_for(milliseconds(500));
      }
    });
    CHECK_FALSE(falls_asleep(vm, kAwake));
    enough = true;
  }
  CHECK(falls_asleep(vm, kLong));
}

TEST_CASE(
    "the times of sleep and life end a vm, and without auto-resume a call says why it fails") {
  IdlePolicy policy;
  policy.idle_after = kIdleAfter;
  policy.suspended_for = milliseconds(3000);
  policy.auto_resume = false;
  RunningVm vm = run_idle(policy);
  REQUIRE(falls_asleep(vm, kLong));
  ExecOptions options;
  options.argv = {"true"};
  const auto refused = vm.exec(options);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::busy);
  CHECK_MESSAGE(vm.wait({nullptr, kLong}), "slept too long");

  IdlePolicy short_life;
  short_life.lifetime = milliseconds(5000);
  RunningVm mayfly = run_idle(short_life);
  CHECK_MESSAGE(mayfly.wait({nullptr, kLong}), "its lifetime is over");
}
