// Forks: they go on from where their source is, and have nothing in common afterwards.
#include <set>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

struct Facts {
  std::set<std::string> hostnames, machine_ids, boot_ids, random;
  void add(Vm& vm) {
    hostnames.insert(shell(vm, "hostname"));
    machine_ids.insert(shell(vm, "cat /etc/machine-id"));
    boot_ids.insert(shell(vm, "cat /proc/sys/kernel/random/boot_id"));
    random.insert(shell(vm, "head -c 32 /dev/urandom | sha256sum"));
  }
};

}  // namespace

TEST_CASE("forks go on from the source's state, each with its own identity") {
  RunningVm source = run_counter();
  shell(source, "echo before > /root/mark; echo memory > /dev/shm/mark");
  auto forked = source.fork({.count = 3});
  REQUIRE_MESSAGE(forked, why(forked));
  REQUIRE(forked->size() == 3);
  std::vector<RunningVm> forks;
  for (Vm& fork : *forked) forks.emplace_back(std::move(fork));
  Facts facts;
  facts.add(source);
  for (RunningVm& fork : forks) {
    facts.add(fork);
    CHECK(shell(fork, "cat /root/mark /dev/shm/mark") == "before\nmemory\n");
    shell(fork, "echo " + fork.id() + " > /root/mark; sync");
  }
  CHECK(facts.hostnames.size() == 4);
  CHECK(facts.machine_ids.size() == 4);
  CHECK(facts.boot_ids.size() == 4);
  CHECK(facts.random.size() == 4);
  CHECK(shell(source, "cat /root/mark") == "before\n");
  for (RunningVm& fork : forks) CHECK(shell(fork, "cat /root/mark") == fork.id() + "\n");
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
