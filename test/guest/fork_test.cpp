// Forks: they go on from where their source is, and have nothing in common afterwards.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string_view>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

constexpr uint32_t kAtOnce = 10;

// Fewer on the second kernel that CI runs this on: a hundred take an emulated host four minutes.
uint32_t count_forks() {
  const char* rig = std::getenv("MICROVM_RIG");
  return rig != nullptr && std::string_view(rig) == "6.1" ? 30 : 100;
}

// What no two guests may have in common.
class Facts {
 public:
  void add(Vm& vm) {
    std::istringstream lines(shell(vm,
                                   "hostname; cat /etc/machine-id /proc/sys/kernel/random/boot_id;"
                                   "head -c 32 /dev/urandom | sha256sum"));
    std::string line;
    for (auto& values : values_) {
      REQUIRE(std::getline(lines, line));
      values.insert(line);
    }
    ++guests_;
  }
  [[nodiscard]] bool all_differ() const {
    return std::ranges::all_of(values_,
                               [&](const auto& values) { return values.size() == guests_; });
  }

 private:
  std::array<std::set<std::string>, 4> values_;
  size_t guests_ = 0;
};

// A line of smaps_rollup, in KiB.
uint64_t memory_kib(uint32_t pid, const std::string& name) {
  std::ifstream lines("/proc/" + std::to_string(pid) + "/smaps_rollup");
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(name + ":"))
      return std::strtoull(line.c_str() + name.size() + 1, nullptr, 10);
  }
  FAIL("no ", name, " of process ", pid);
  return 0;
}

}  // namespace

// Ten times ten: a hundred idle guests at once leave an emulated host no time for anything.
TEST_CASE("a hundred forks go on from the source's state, each with its own identity") {
  const uint32_t count = count_forks();
  RunningVm source = run_counter();
  shell(source, "echo before > /root/mark; echo memory > /dev/shm/mark");
  Facts facts;
  facts.add(source);
  uint64_t resident_kib = 0;
  uint64_t share_kib = 0;
  for (uint32_t round = 0; round < count / kAtOnce; ++round) {
    auto forked = source.fork({.count = kAtOnce});
    REQUIRE_MESSAGE(forked, why(forked));
    REQUIRE(forked->size() == kAtOnce);
    std::vector<RunningVm> forks;
    for (Vm& fork : *forked) forks.emplace_back(std::move(fork));
    for (RunningVm& fork : forks) {
      facts.add(fork);
      CHECK(shell(fork, "cat /root/mark /dev/shm/mark; echo $(hostname) > /root/mark; sync") ==
            "before\nmemory\n");
    }
    CHECK(shell(source, "cat /root/mark") == "before\n");
    for (RunningVm& fork : forks) {
      CHECK(shell(fork, "test \"$(cat /root/mark)\" = \"$(hostname)\" && echo own") == "own\n");
      const uint32_t pid = fork.info()->worker_pid;
      share_kib += memory_kib(pid, "Pss");
      resident_kib += memory_kib(pid, "Rss");
    }
  }
  CHECK(facts.all_differ());
  MESSAGE("per fork ", (share_kib / count), " KiB PSS, ", (resident_kib / count), " KiB RSS");
  CHECK(share_kib * 2 < resident_kib);
}

TEST_CASE("a fork outlives its source, can be suspended and forked itself") {
  RunningVm source = run_counter();
  shell(source, "echo one > /root/mark");
  auto first = source.fork();
  REQUIRE_MESSAGE(first, why(first));
  RunningVm child(std::move(first->front()));
  REQUIRE(source.terminate());
  shell(child, "echo two >> /root/mark");
  REQUIRE_MESSAGE(child.suspend(), "suspend a fork");
  CHECK(shell(child, "cat /root/mark") == "one\ntwo\n");
  auto second = child.fork();
  REQUIRE_MESSAGE(second, why(second));
  RunningVm grandchild(std::move(second->front()));
  CHECK(shell(grandchild, "cat /root/mark") == "one\ntwo\n");
}

TEST_CASE("what the source was doing goes on over a fork") {
  RunningVm source = run_counter();
  ExecOptions options;
  options.argv = {"sh", "-c", "for i in 1 2 3 4 5 6; do echo $i; sleep 0.5; done"};
  auto program = source.exec(options);
  REQUIRE_MESSAGE(program, why(program));
  auto forked = source.fork();
  REQUIRE_MESSAGE(forked, why(forked));
  RunningVm fork(std::move(forked->front()));
  const auto status = program->wait();
  REQUIRE_MESSAGE(status, why(status));
  CHECK(status->code == 0);
}

TEST_CASE("a fork of nothing or of too many is refused, a taken name leaves nothing") {
  RunningVm source = run_counter();
  CHECK(source.fork({.count = 0}).error().code == ErrorCode::invalid_argument);
  CHECK(source.fork({.count = 1001}).error().code == ErrorCode::invalid_argument);
  RunOptions named;
  named.name = "twin-2";
  RunningVm taken = run_counter(named);
  const size_t before = count_workers();
  const auto refused = source.fork({.count = 3, .name = "twin"});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::already_exists);
  CHECK(count_workers() <= before + 1);  // the pool may have got its worker meanwhile
  CHECK(shell(source, "echo alive") == "alive\n");
}

TEST_CASE("forks and resumes above the memory limit are refused, and nothing is left of them") {
  const TempDir dir;
  copy_store(dir.path(), {"kernels", "bases", "base-names", "images"});
  RuntimeOptions options;
  options.data_dir = dir.path();
  options.memory_limit_bytes = 2 * kGuestMemory;
  auto limited = Runtime::open(options);
  REQUIRE_MESSAGE(limited, why(limited));
  auto started = limited->run("counter");
  REQUIRE_MESSAGE(started, why(started));
  RunningVm source(std::move(*started));
  const auto refused = source.fork({.count = 2});
  REQUIRE_FALSE(refused);
  INFO(refused.error().message);
  CHECK(refused.error().code == ErrorCode::out_of_memory);
  CHECK(limited->vms()->size() == 1);
  CHECK(shell(source, "echo alive") == "alive\n");

  REQUIRE(source.suspend());
  auto one = limited->run("counter");
  REQUIRE_MESSAGE(one, why(one));
  RunningVm first(std::move(*one));
  auto two = limited->run("counter");
  REQUIRE_MESSAGE(two, why(two));
  RunningVm second(std::move(*two));
  CHECK(source.resume().error().code == ErrorCode::out_of_memory);
  CHECK(source.info()->state == VmState::suspended);
  REQUIRE(second.terminate());
  CHECK(shell(source, "echo awake") == "awake\n");
}
