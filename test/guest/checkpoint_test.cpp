// Checkpoints: gone back to, run from, made images; nothing they need is ever collected.
#include <set>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

CheckpointInfo checkpoint(Vm& vm, const std::string& name = {}) {
  const auto info = vm.checkpoint({name});
  REQUIRE_MESSAGE(info, why(info));
  return *info;
}

void remove(const CheckpointInfo& info) {
  CHECK_MESSAGE(runtime().remove_checkpoint(info.id), info.id);
}

}  // namespace

TEST_CASE("a vm goes back to its checkpoint, again and again") {
  RunningVm vm = run_counter();
  shell(vm, "echo one > /root/mark; echo one > /dev/shm/mark");
  const std::string hostname = shell(vm, "hostname");
  const CheckpointInfo one = checkpoint(vm, "first");
  CHECK(one.stored_bytes > 0);
  CHECK(one.vm_id == vm.id());
  shell(vm, "echo two > /root/mark; echo two > /dev/shm/mark; sync");
  const CheckpointInfo two = checkpoint(vm);
  std::set<std::string> random;
  for (int round = 0; round < 2; ++round) {
    shell(vm, "echo lost > /root/mark; rm /dev/shm/mark");
    REQUIRE_MESSAGE(vm.rollback("first"), "to the first");
    CHECK(random.insert(shell(vm, "head -c 16 /dev/urandom | od -x")).second);
    CHECK(shell(vm, "cat /root/mark /dev/shm/mark; hostname") == "one\none\n" + hostname);
    const auto later = vm.rollback(two.id);
    REQUIRE_MESSAGE(later, why(later));
    CHECK(shell(vm, "cat /root/mark /dev/shm/mark") == "two\ntwo\n");
  }
  const auto listed = runtime().checkpoints();
  REQUIRE(listed);
  CHECK(listed->size() == 2);
  remove(one);
  remove(two);
  CHECK(shell(vm, "cat /root/mark") == "two\n");
  REQUIRE_MESSAGE(vm.suspend(), "after its checkpoints have gone");
  CHECK(shell(vm, "cat /root/mark") == "two\n");
}

TEST_CASE("a checkpoint outlives its vm, is run from and becomes an image") {
  CheckpointInfo kept;
  {
    RunningVm source = run_counter();
    shell(source, "echo kept > /root/mark; echo memory > /dev/shm/mark");
    kept = checkpoint(source, "kept");
  }
  CHECK(runtime().remove_image("counter").error().code == ErrorCode::busy);
  auto started = runtime().run_checkpoint("kept");
  REQUIRE_MESSAGE(started, why(started));
  RunningVm vm(std::move(*started));
  CHECK(shell(vm, "cat /root/mark /dev/shm/mark") == "kept\nmemory\n");
  CHECK(shell(vm, "hostname") == vm.id() + "\n");

  const auto image = runtime().commit("kept", "promoted");
  REQUIRE_MESSAGE(image, why(image));
  remove(kept);
  auto launched = runtime().run("promoted");
  REQUIRE_MESSAGE(launched, why(launched));
  {
    RunningVm clone(std::move(*launched));
    CHECK(shell(clone, "cat /root/mark /dev/shm/mark") == "kept\nmemory\n");
    CHECK(http_get(clone, "/") != "");
  }
  CHECK_MESSAGE(runtime().remove_image("promoted"), "nothing holds it any more");
  CHECK(shell(vm, "cat /root/mark") == "kept\n");
}

TEST_CASE("checkpoints that make no sense are refused") {
  RunningVm vm = run_counter();
  RunningVm other = run_counter();
  const CheckpointInfo taken = checkpoint(vm, "mine");
  CHECK(vm.checkpoint({"mine"}).error().code == ErrorCode::already_exists);
  CHECK(vm.checkpoint({"no/name"}).error().code == ErrorCode::invalid_argument);
  CHECK(other.rollback("mine").error().code == ErrorCode::invalid_argument);
  CHECK(vm.rollback("nothing").error().code == ErrorCode::not_found);
  CHECK(runtime().run_checkpoint("nothing").error().code == ErrorCode::not_found);
  CHECK(runtime().remove_checkpoint("nothing").error().code == ErrorCode::not_found);
  for (const auto& entry :
       std::filesystem::directory_iterator(data_dir() / "checkpoints" / taken.id)) {
    if (entry.path().filename().string().starts_with("pages-")) {
      std::filesystem::resize_file(entry.path(), 100);
    }
  }
  const auto refused = vm.rollback("mine");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::corrupt);
  CHECK(shell(vm, "echo unharmed") == "unharmed\n");
  REQUIRE(vm.suspend({.wait_durable = false}));
  CHECK(vm.rollback("mine").error().code == ErrorCode::corrupt);
  CHECK(shell(vm, "echo unharmed") == "unharmed\n");
  remove(taken);
}

TEST_CASE("who does not own a vm that dies with its owner cannot roll it back, and does no harm") {
  RunningVm vm = run_counter();
  const CheckpointInfo taken = checkpoint(vm, "mine");
  shell(vm, "echo memory > /dev/shm/mark");
  const auto worker = vm.info()->worker_pid;
  CHECK(run_cli({"rollback", vm.id(), "mine"}).code == 1);
  CHECK(vm.info()->worker_pid == worker);
  CHECK(shell(vm, "cat /dev/shm/mark") == "memory\n");
  remove(taken);
}

TEST_CASE("the command line takes, lists, goes back to and commits checkpoints") {
  RunningVm vm = run_detached();
  shell(vm, "echo one > /root/mark");
  REQUIRE(run_cli({"checkpoint", "create", "--name", "cli", vm.id()}).code == 0);
  shell(vm, "echo two > /root/mark");
  CHECK(run_cli({"checkpoint", "ls"}).out.find("cli") != std::string::npos);
  CHECK(run_cli({"rollback", vm.id(), "cli"}).code == 0);
  CHECK(run_cli({"exec", vm.id(), "cat", "/root/mark"}).out == "one\n");
  CHECK(run_cli({"commit", "cli", "from-cli"}).out == "from-cli:1\n");
  CHECK(run_cli({"checkpoint", "rm", "cli"}).code == 0);
  CHECK(run_cli({"image", "rm", "from-cli"}).out == "from-cli:1\n");
  CHECK(run_cli({"rollback", vm.id(), "cli"}).code == 1);
}
