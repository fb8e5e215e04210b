// Prune beside Vms, checkpoints and images that are in use: all of them go on.
#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

bool has(const PruneReport& report, PrunedItem::Kind kind, const std::string& name) {
  for (const PrunedItem& item : report.items) {
    if (item.kind == kind && item.name == name) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("prune frees what ended, and leaves usable what is used") {
  RunningVm vm = run_counter();
  shell(vm, "echo kept > /root/mark; echo memory > /dev/shm/mark");
  const auto kept = vm.checkpoint({"prune-kept"});
  REQUIRE_MESSAGE(kept, why(kept));
  auto forks = vm.fork();
  REQUIRE_MESSAGE(forks, why(forks));
  RunningVm forked(std::move(forks->front()));
  RunningVm asleep = run_detached();
  shell(asleep, "echo asleep > /root/mark");
  REQUIRE(asleep.suspend());
  RunningVm running = run_detached();
  RunningVm ended = run_detached();
  REQUIRE(ended.terminate());
  // The checkpoint keeps the image's first version from going with a second one.
  const auto second = runtime().commit("prune-kept", "counter");
  REQUIRE_MESSAGE(second, why(second));

  const auto look = runtime().prune({.dry_run = true, .images = true});
  REQUIRE_MESSAGE(look, why(look));
  CHECK(has(*look, PrunedItem::Kind::vm, ended.id()));
  for (const PrunedItem& item : look->items) CHECK(item.name == ended.id());  // says which not
  CHECK(look->items.size() == 1);
  const CliResult cli = run_cli({"prune", "-f", "--images"});
  CHECK(cli.code == 0);
  CHECK(cli.out.find(ended.id()) != std::string::npos);
  CHECK(cli.out.find("Total reclaimed space: ") != std::string::npos);
  CHECK(run_cli({"prune", "--json"}).code == 2);  // nobody to ask
  const auto again = runtime().prune({.images = true});
  REQUIRE(again);
  CHECK(again->items.empty());

  for (RunningVm* each : {&vm, &forked}) {
    CHECK(shell(*each, "cat /root/mark /dev/shm/mark") == "kept\nmemory\n");
  }
  CHECK(shell(running, "echo here") == "here\n");
  CHECK(shell(asleep, "cat /root/mark") == "asleep\n");  // resumed
  REQUIRE_MESSAGE(vm.rollback("prune-kept"), "to its checkpoint");
  CHECK(shell(vm, "cat /root/mark") == "kept\n");
  auto started = runtime().run_checkpoint("prune-kept");
  REQUIRE_MESSAGE(started, why(started));
  {
    RunningVm clone(std::move(*started));
    CHECK(shell(clone, "cat /root/mark /dev/shm/mark") == "kept\nmemory\n");
  }
  CHECK(runtime().remove_checkpoint("prune-kept"));
  CHECK(runtime().remove_image("counter:" + second->version));
}
