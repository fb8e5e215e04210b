// microvm exec -d, ls, attach, kill and wait: programs that their client has left.
#include <unistd.h>

#include <csignal>
#include <string>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

constexpr double kSoon = 30;

// Says a line and ends when the file is there.
const std::string kUntilTold =
    "echo begun; until [ -e /tmp/end ]; do sleep 0.1; done; echo over; exit 7";

void start_detached(Vm& vm, const std::string& name, const std::string& script) {
  const auto started = run_cli({"exec", "-d", "--id", name, vm.id(), "--", "sh", "-c", script});
  REQUIRE(started.out == name + "\n");
  REQUIRE(started.code == 0);
}

bool is_listed(Vm& vm, const std::string& name, const std::string& state) {
  const auto listed = run_cli({"exec", "ls", vm.id()});
  CHECK(listed.code == 0);
  const size_t row = listed.out.find("\n" + name + " ");
  return row != std::string::npos &&
         has(listed.out.substr(row + 1, listed.out.find('\n', row + 1) - row), state);
}

uint32_t clients_of(Vm& vm, const std::string& id) {
  const auto infos = vm.execs();
  REQUIRE_MESSAGE(infos, why(infos));
  for (const ExecInfo& info : *infos) {
    if (info.id == id) return info.clients;
  }
  return 0;
}

pid_t attach(Vm& vm, const std::string& name, const std::vector<std::string>& options = {}) {
  std::vector<std::string> line = {"exec", "attach", "--no-stdin"};
  line.insert(line.end(), options.begin(), options.end());
  line.insert(line.end(), {vm.id(), name});
  const pid_t client = start_cli(line);
  const bool attached = eventually([&] { return clients_of(vm, name) == 1; });
  INFO(run_cli({"exec", "ls", "--json", vm.id()}).out);
  REQUIRE(attached);
  return client;
}

}  // namespace

TEST_CASE("cli exec: a detached program is listed, come back to, and its status kept") {
  RunningVm vm = run_detached();
  start_detached(vm, "work", kUntilTold);
  CHECK(is_listed(vm, "work", "running (0 attached)"));
  CHECK(has(run_cli({"exec", "ls", "--json", vm.id()}).out, "\"id\": \"work\""));
  REQUIRE(run_cli({"suspend", vm.id()}).code == 0);
  CHECK(is_listed(vm, "work", "running (0 attached)"));
  shell(vm, "touch /tmp/end");
  REQUIRE(eventually([&] { return is_listed(vm, "work", "ended with 7"); }));
  const auto attached = run_line("microvm exec attach " + vm.id() + " work </dev/null");
  CHECK(attached.out == "begun\nover\n");
  CHECK(attached.code == 7);
  const auto gone = run_cli({"exec", "attach", vm.id(), "work"});
  CHECK(gone.code == 125);

  start_detached(vm, "waited", kUntilTold);
  CHECK(run_cli({"exec", "wait", vm.id(), "waited"}).code == 7);
  CHECK(run_cli({"exec", "wait", vm.id(), "waited"}).code == 125);
  CHECK(run_cli({"exec", "-d", vm.id(), "/nowhere"}).code == 127);
}

TEST_CASE("cli exec: kill sends a signal, and says which program is not there") {
  RunningVm vm = run_detached();
  start_detached(vm, "one", "trap \"exit 3\" HUP; while :; do sleep 0.1; done");
  start_detached(vm, "two", "while :; do sleep 0.1; done");
  const auto sent = run_cli({"exec", "kill", "-s", "HUP", vm.id(), "one", "none"});
  CHECK(sent.code == 125);
  CHECK(has(sent.out, "none"));
  CHECK(run_cli({"exec", "kill", vm.id(), "two"}).out == "two\n");
  INFO(run_cli({"exec", "ls", "--json", vm.id()}).out);
  CHECK(run_cli({"exec", "wait", vm.id(), "one"}).code == 3);
  CHECK(run_cli({"exec", "wait", vm.id(), "two"}).code == 128 + SIGTERM);
}

TEST_CASE("cli exec attach: signals are the program's, or leave it running") {
  RunningVm vm = run_detached();
  start_detached(vm, "work", "trap \"exit 9\" TERM; while :; do sleep 0.1; done");
  const pid_t leaves = attach(vm, "work", {"--sig-proxy=false"});
  REQUIRE(::kill(leaves, SIGTERM) == 0);
  CHECK(status_within(leaves, kSoon) == 0);
  const pid_t lost = attach(vm, "work");
  REQUIRE(::kill(lost, SIGKILL) == 0);
  CHECK(status_within(lost, kSoon) == 128 + SIGKILL);
  REQUIRE(eventually([&] { return is_listed(vm, "work", "running (0 attached)"); }));
  const pid_t passes = attach(vm, "work");
  REQUIRE(::kill(passes, SIGTERM) == 0);
  CHECK(status_within(passes, kSoon) == 9);

  start_detached(vm, "deaf", "trap : INT TERM; while :; do sleep 0.1; done");
  const pid_t kills = attach(vm, "deaf");
  REQUIRE(::kill(kills, SIGINT) == 0);
  std::this_thread::sleep_for(std::chrono::seconds(1));
  REQUIRE(::kill(kills, SIGTERM) == 0);
  CHECK(status_within(kills, kSoon) == 128 + SIGTERM);
  CHECK(run_cli({"exec", "wait", vm.id(), "deaf"}).code == 128 + SIGKILL);
}

TEST_CASE("cli exec: a client whose microvm is suspended says how to come back, or does") {
  RunningVm vm = run_detached();
  const std::string line = "microvm exec --id told " + vm.id() + " -- sh -c '" + kUntilTold + "'";
  const std::string suspend = "sleep 3; microvm suspend " + vm.id() + "; wait $!; echo status $?";
  const auto told = run_line(line + " & " + suspend);
  INFO(told.out);
  CHECK(has(told.out, "microvm exec attach " + vm.id() + " told\n"));
  CHECK(has(told.out, "status 125\n"));
  CHECK(is_listed(vm, "told", "running (0 attached)"));
  shell(vm, "touch /tmp/end");
  CHECK(run_cli({"exec", "wait", vm.id(), "told"}).code == 7);

  shell(vm, "rm /tmp/end");
  const auto stays = run_line("microvm exec --reattach " + vm.id() + " -- sh -c '" + kUntilTold +
                              "' & sleep 3; microvm suspend " + vm.id() + "; microvm exec " +
                              vm.id() + " touch /tmp/end; wait $!; echo status $?");
  INFO(stays.out);
  CHECK(has(stays.out, "begun\n"));
  CHECK(has(stays.out, "over\n"));
  CHECK(has(stays.out, "status 7\n"));
}

TEST_CASE("cli exec: a microvm named as a command is reached by --, and that is said") {
  RunOptions options;
  options.name = "ls";
  options.dies_with_owner = false;
  RunningVm vm = run_counter(options);
  CHECK(run_line("microvm exec -- ls echo there").out == "there\n");
  const auto taken = run_cli({"exec", "ls", "echo", "there"});
  CHECK(taken.code == 2);
  CHECK(has(taken.out, "microvm exec -- ls"));
  REQUIRE(vm.terminate());
  CHECK(run_cli({"rm", "ls"}).code == 0);
}
