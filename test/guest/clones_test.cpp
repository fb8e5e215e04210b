// Many Vms from one snapshot: the same start, nothing in common afterwards.
#include <set>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

constexpr size_t kClones = 20;

struct Clone {
  RunningVm vm;
  std::string hostname;
  std::string machine_id;
  std::string boot_id;
  std::string random;
};

Clone start_clone() {
  Clone clone{run_counter(), {}, {}, {}, {}};
  clone.hostname = shell(clone.vm, "hostname");
  clone.machine_id = shell(clone.vm, "cat /etc/machine-id");
  clone.boot_id = shell(clone.vm, "cat /proc/sys/kernel/random/boot_id");
  clone.random = shell(clone.vm, "head -c 32 /dev/urandom | sha256sum");
  return clone;
}

size_t distinct(const std::vector<Clone>& clones, std::string Clone::* field) {
  std::set<std::string> values;
  for (const Clone& clone : clones) values.insert(clone.*field);
  return values.size();
}

std::filesystem::path base_disk() {
  const auto bases = runtime().bases();
  REQUIRE(bases);
  return data_dir() / "bases" / bases->front().digest / "disk.ext4";
}

}  // namespace

TEST_CASE("twenty clones share no identity and no random bytes") {
  std::vector<Clone> clones;
  for (size_t i = 0; i < kClones; ++i) clones.push_back(start_clone());
  CHECK(distinct(clones, &Clone::hostname) == kClones);
  CHECK(distinct(clones, &Clone::machine_id) == kClones);
  CHECK(distinct(clones, &Clone::boot_id) == kClones);
  CHECK(distinct(clones, &Clone::random) == kClones);
  CHECK(runtime().vms()->size() >= kClones);
}

TEST_CASE("a microVM's own name resolves, after each change of identity") {
  const std::string resolve =
      "python3 -c 'import socket; print(socket.gethostbyname(socket.gethostname()))'; "
      "test \"$(cat /etc/hostname)\" = \"$(hostname)\"; grep -c 127.0.1.1 /etc/hosts";
  RunningVm vm = run_counter();
  CHECK(shell(vm, resolve) == "127.0.1.1\n1\n");
  CHECK(shell(vm, "getent hosts localhost | wc -l; echo 10.0.0.9 db >> /etc/hosts") == "1\n");
  auto forks = vm.fork({.count = 2});
  REQUIRE_MESSAGE(forks, why(forks));
  for (Vm& fork : *forks) {
    RunningVm running(fork);
    CHECK(shell(running, resolve) == "127.0.1.1\n1\n");
    CHECK_FALSE(has(shell(running, "cat /etc/hosts /etc/hostname"), vm.id()));
    CHECK(has(shell(running, "getent hosts db"), "10.0.0.9"));
  }
  suspend(vm);
  REQUIRE(vm.resume());
  CHECK(shell(vm, resolve) == "127.0.1.1\n1\n");
}

TEST_CASE("clones diverge in memory and on disk; base and image files stay as they are") {
  const std::string base_before = file_digest(base_disk());
  const auto layer = image_dir("counter", "1") / "app.layer";
  const std::string layer_before = file_digest(layer);
  {
    RunningVm one = run_counter();
    RunningVm two = run_counter();
    http_get(one, "/");
    http_get(one, "/");
    CHECK(http_get(one, "/").find("\"in_memory\": 3, \"on_disk\": 3") != std::string::npos);
    CHECK(http_get(two, "/").find("\"in_memory\": 1, \"on_disk\": 1") != std::string::npos);
    shell(one, "echo one > /mark; sync");
    shell(two, "echo two > /mark; sync");
    CHECK(shell(one, "echo 3 > /proc/sys/vm/drop_caches; cat /mark") == "one\n");
    CHECK(shell(two, "echo 3 > /proc/sys/vm/drop_caches; cat /mark") == "two\n");
    REQUIRE(one.terminate());
    REQUIRE(two.terminate());
  }
  CHECK(file_digest(base_disk()) == base_before);
  CHECK(file_digest(layer) == layer_before);
}

TEST_CASE("the clock of a clone is right") {
  RunningVm vm = run_counter();
  const auto guest = std::stoll(shell(vm, "date +%s"));
  CHECK(std::abs(guest - std::time(nullptr)) <= 3);
}

TEST_CASE("a pooled launch finds its worker and says what it cost") {
  REQUIRE(runtime().warm("counter", 1));
  RunningVm vm = run_counter();
  const LaunchTimes times = vm.launch_times();
  CHECK(times.worker_us <= times.restore_us);
  CHECK(times.restore_us <= times.agent_us);
  CHECK(times.agent_us <= times.ready_us);
  CHECK(times.ready_us > 0);
}
