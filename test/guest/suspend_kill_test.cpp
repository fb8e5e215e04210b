// A suspend that is killed at any point, in its embedder or its worker, leaves the state before or
// the one it was about to save: never none, never a mixture of memory and disk.
#include <chrono>
#include <csignal>
#include <thread>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

constexpr int kPoints = 50;  // for each of the two

// What another process did shows here a moment later.
bool becomes_suspended(Vm& vm) {
  for (int i = 0; i < 200; ++i) {
    if (vm.info()->state == VmState::suspended) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return false;
}

// What memory and disk say; they were written together.
struct Marks {
  int memory = -1;
  int disk = -1;
};

Marks read_marks(Vm& vm) {
  Marks marks;
  const std::string text = shell(vm, "cat /dev/shm/mark /root/mark");
  REQUIRE(std::sscanf(text.c_str(), "%d %d", &marks.memory, &marks.disk) == 2);
  return marks;
}

void write_marks(Vm& vm, int value) {
  const std::string text = std::to_string(value);
  // The frozen programs of a suspend see both or none.
  shell(vm, "echo " + text + " > /root/mark; sync; echo " + text + " > /dev/shm/mark");
}

}  // namespace

TEST_CASE("a suspend killed at a hundred points leaves the old or the new state, whole") {
  RunningVm vm = run_detached();
  write_marks(vm, 0);
  const double whole = seconds_of([&] { wait_for(start_cli({"suspend", vm.id()})); });
  REQUIRE(becomes_suspended(vm));
  int saved = 0;  // what the last state that was surely saved holds
  int lost = 0;
  for (int round = 1; round <= 2 * kPoints; ++round) {
    INFO(round);
    write_marks(vm, round);
    const bool kill_worker = round % 2 == 0;
    const auto worker = static_cast<pid_t>(vm.info()->worker_pid);
    const pid_t suspending = start_cli({"suspend", vm.id()});
    std::this_thread::sleep_for(std::chrono::duration<double>(whole * round / (2 * kPoints)));
    ::kill(kill_worker ? worker : suspending, SIGKILL);
    wait_for(suspending);
    const VmState state = vm.info()->state;
    CHECK((state == VmState::running || state == VmState::suspended));
    const Marks marks = read_marks(vm);
    CHECK(marks.memory == marks.disk);
    CHECK(marks.memory >= saved);
    CHECK(marks.memory <= round);
    if (marks.memory == round) continue;
    ++lost;  // back to an older state: the worker was killed before the new one was there
    CHECK(kill_worker);
    saved = marks.memory;
  }
  CHECK(lost <= kPoints);
  CHECK(count_workers() == 1);
}
