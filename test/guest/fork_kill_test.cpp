// A fork that is killed at any point, in its embedder or in the source's worker, leaves the source
// as it was or as it was last saved, and no half of a fork.
#include <chrono>
#include <csignal>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

constexpr int kPoints = 25;  // for each of the two

// Every Vm but the source; each of them has to be a whole one.
void check_and_remove_forks(const std::string& source) {
  const auto all = runtime().vms();
  REQUIRE_MESSAGE(all, why(all));
  for (const VmInfo& info : *all) {
    if (info.id == source) continue;
    auto fork = runtime().attach(info.id);
    REQUIRE_MESSAGE(fork, why(fork));
    if (fork->info()->state == VmState::running)
      CHECK(shell(*fork, "cat /dev/shm/mark") == "kept\n");
    REQUIRE(runtime().remove_vm(info.id));
  }
}

}  // namespace

TEST_CASE("a fork killed at fifty points leaves its source whole, and whole forks or none") {
  RunningVm source = run_detached();
  shell(source, "echo kept > /dev/shm/mark");
  REQUIRE(source.suspend());
  REQUIRE(source.resume());
  const size_t workers = settled_holdings().workers;
  const std::vector<std::string> fork = {"fork", source.id()};
  const double whole = seconds_of([&] { wait_for(start_cli(fork)); });
  check_and_remove_forks(source.id());
  for (int round = 1; round <= 2 * kPoints; ++round) {
    INFO(round);
    const auto worker = static_cast<pid_t>(source.info()->worker_pid);
    const pid_t forking = start_cli(fork);
    std::this_thread::sleep_for(std::chrono::duration<double>(whole * round / (2 * kPoints)));
    ::kill(round % 2 == 0 ? worker : forking, SIGKILL);
    wait_for(forking);
    CHECK(shell(source, "cat /dev/shm/mark") == "kept\n");
    check_and_remove_forks(source.id());
  }
  CHECK(eventually([&] { return count_workers() == workers; }));
}
