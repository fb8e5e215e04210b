// The idle policy on a real guest: each kind of activity keeps it awake, nothing else does.
#include <atomic>
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

bool falls_asleep(Vm& vm, milliseconds within) {
  const auto deadline = std::chrono::steady_clock::now() + within;
  while (std::chrono::steady_clock::now() < deadline) {
    if (vm.info()->state == VmState::suspended) return true;
    std::this_thread::sleep_for(milliseconds(100));
  }
  return false;
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
  std::vector<VmEvent> events;
  REQUIRE(runtime().events(false, [&](const VmEvent& event) {
    if (event.vm_id == vm.id()) events.push_back(event);
  }));
  size_t idle = 0;
  size_t woken = 0;
  for (const VmEvent& event : events) {
    if (event.kind == VmEvent::Kind::suspended && event.cause == "idle") ++idle;
    if (event.kind == VmEvent::Kind::resumed) ++woken;
  }
  CHECK(idle == 2);
  CHECK(woken == 2);
}

TEST_CASE("a program, a busy cpu and a handle keep a vm awake") {
  RunningVm vm = run_idle();
  {
    ExecOptions options;
    options.argv = {"sleep", "1000"};
    auto program = vm.exec(options);
    REQUIRE_MESSAGE(program, why(program));
    CHECK_FALSE(falls_asleep(vm, kAwake));
  }
  shell(vm, "nohup sh -c 'while :; do :; done' >/dev/null 2>&1 & echo $! > /tmp/busy");
  CHECK_FALSE(falls_asleep(vm, kAwake));
  shell(vm, "kill $(cat /tmp/busy)");
  {
    const KeepAwake held = vm.keep_awake();
    CHECK_FALSE(falls_asleep(vm, kAwake));
  }
  CHECK(falls_asleep(vm, kLong));
}

TEST_CASE("bytes through a port and an attached terminal keep a vm awake") {
  RunningVm vm = run_idle();
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
  auto terminal = vm.pty({.argv = {"cat"}, .id = "quiet"});
  REQUIRE_MESSAGE(terminal, why(terminal));
  CHECK_FALSE(falls_asleep(vm, kAwake));
  terminal->detach();
  CHECK(falls_asleep(vm, kLong));
  const auto sessions = vm.ptys();
  REQUIRE_MESSAGE(sessions, why(sessions));
  CHECK(sessions->size() == 1);
}

TEST_CASE("the guest keeps itself awake by a file, and asks for its suspension by another") {
  RunningVm vm = run_idle();
  shell(vm, "touch /run/microvm/keep-awake");
  CHECK_FALSE(falls_asleep(vm, kAwake));
  shell(vm, "touch /run/microvm/suspend");
  CHECK(falls_asleep(vm, kLong));
  CHECK(shell(vm, "ls /run/microvm") == "keep-awake\n");
  CHECK_FALSE(falls_asleep(vm, kAwake));
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
