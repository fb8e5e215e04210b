// How Vms end, who notices, and what is left: nothing.
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

bool is_listed(const std::string& id) {
  const auto vms = runtime().vms();
  REQUIRE(vms);
  return std::ranges::any_of(*vms, [&](const VmInfo& vm) { return vm.id == id; });
}

bool has_directory(const std::string& id) {
  return std::filesystem::exists(data_dir() / "vms" / id);
}

// The library waits one second for a worker; the rest is what the rig adds.
constexpr double kTerminateSeconds = 3;

}  // namespace

TEST_CASE("terminate leaves nothing, and later calls say that the vm is gone") {
  RunningVm vm = run_counter();
  const std::string id = vm.id();
  CHECK(is_listed(id));
  const auto info = vm.info();
  REQUIRE(info);
  CHECK(info->state == VmState::running);
  CHECK(info->end == VmEnd::none);
  REQUIRE(vm.terminate());
  REQUIRE(vm.terminate());
  CHECK(vm.info()->state == VmState::terminated);
  CHECK(vm.info()->end == VmEnd::terminated);
  CHECK_FALSE(has_directory(id));
  CHECK_FALSE(is_listed(id));
  CHECK(::kill(static_cast<pid_t>(info->worker_pid), 0) != 0);
  ExecOptions options;
  options.argv = {"true"};
  const auto refused = vm.exec(options);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::vm_gone);
}

TEST_CASE("a killed worker fails pending calls with the reason and hurts nobody else") {
  RunningVm vm = run_counter();
  RunningVm other = run_counter();
  ExecOptions options;
  options.argv = {"sleep", "1000"};
  auto program = vm.exec(options);
  REQUIRE_MESSAGE(program, why(program));
  REQUIRE(::kill(static_cast<pid_t>(vm.info()->worker_pid), SIGKILL) == 0);
  const auto status = program->wait();
  REQUIRE_FALSE(status);
  CHECK(status.error().code == ErrorCode::vm_gone);
  CHECK(status.error().message.find("killed") != std::string::npos);
  const auto ending = vm.wait();
  REQUIRE_MESSAGE(ending, why(ending));
  CHECK(ending->reason.find("SIGKILL") != std::string::npos);
  CHECK(vm.info()->end == VmEnd::killed);
  CHECK(shell(other, "echo alive") == "alive\n");
}

TEST_CASE("a worker that ended is reaped without being asked for") {
  RunningVm vm = run_counter();
  const auto worker = static_cast<pid_t>(vm.info()->worker_pid);
  REQUIRE(::kill(worker, SIGKILL) == 0);
  CHECK(eventually([&] { return ::kill(worker, 0) != 0; }));
}

TEST_CASE("terminate and remove kill a worker that does not answer") {
  RunningVm vm = run_counter();
  const auto own = static_cast<pid_t>(vm.info()->worker_pid);
  REQUIRE(::kill(own, SIGSTOP) == 0);
  CHECK(seconds_of([&] { CHECK(vm.terminate()); }) < kTerminateSeconds);
  CHECK(::kill(own, 0) != 0);
  CHECK_FALSE(has_directory(vm.id()));

  REQUIRE(run_cli({"run", "-d", "--name", "stuck", "counter"}).code == 0);
  auto stranger = runtime().attach("stuck");
  REQUIRE_MESSAGE(stranger, why(stranger));
  const auto other = static_cast<pid_t>(stranger->info()->worker_pid);
  REQUIRE(::kill(other, SIGSTOP) == 0);
  CHECK(seconds_of([&] { CHECK(runtime().remove_vm("stuck")); }) < kTerminateSeconds);
  CHECK(eventually([&] { return ::kill(other, 0) != 0; }));
  CHECK_FALSE(has_directory(stranger->id()));
}

TEST_CASE("a guest that panics is reported with its panic line") {
  RunningVm vm = run_counter();
  ExecOptions options;
  options.argv = {"sh", "-c", "echo c > /proc/sysrq-trigger"};
  const auto result = vm.exec_collect(options);
  REQUIRE_FALSE(result);
  INFO(result.error().message);
  CHECK(result.error().code == ErrorCode::guest_failed);
  CHECK(result.error().message.find("sysrq") != std::string::npos);
  CHECK(vm.info()->state == VmState::terminated);
  CHECK(vm.info()->end == VmEnd::panicked);
  const auto log = vm.logs(LogSource::kernel);
  REQUIRE_MESSAGE(log, why(log));
  CHECK(log->find("Kernel panic") != std::string::npos);
}

TEST_CASE("a vm that another process removed was terminated") {
  RunningVm vm = run_detached();
  const auto attached = runtime().attach(vm.id());
  REQUIRE_MESSAGE(attached, why(attached));
  REQUIRE(run_cli({"rm", "-f", vm.id()}).code == 0);
  CHECK(attached->info()->state == VmState::terminated);
  CHECK(attached->info()->end == VmEnd::terminated);
}

TEST_CASE("names are unique, and an id may be shortened") {
  RunOptions options;
  options.name = "web";
  RunningVm vm = run_counter(options);
  CHECK(shell(vm, "hostname") == "web\n");
  const auto second = runtime().run("counter", options);
  REQUIRE_FALSE(second);
  CHECK(second.error().code == ErrorCode::already_exists);
  CHECK(runtime().attach("web")->id() == vm.id());
  CHECK(runtime().attach(vm.id().substr(0, 8))->id() == vm.id());
  CHECK(runtime().attach("no-such-vm").error().code == ErrorCode::not_found);
  REQUIRE(vm.terminate());
  RunningVm again = run_counter(options);
  CHECK(again.id() != vm.id());
}

TEST_CASE("a second process attaches to a running vm and controls it") {
  RunningVm vm = run_counter();
  CHECK(run_cli({"ps", "-q"}).out.find(vm.id()) != std::string::npos);
  const auto result = run_cli({"exec", "-e", "A=b", vm.id(), "sh", "-c", "echo $A; exit 7"});
  CHECK(result.out == "b\n");
  CHECK(result.code == 7);
  CHECK(run_cli({"logs", vm.id()}).code == 0);
  CHECK(run_cli({"rm", vm.id()}).code == 1);
  CHECK(run_cli({"rm", "-f", vm.id()}).code == 0);
  CHECK_MESSAGE(vm.wait(), why(vm.wait()));
  CHECK_FALSE(has_directory(vm.id()));
}

TEST_CASE("a detached vm outlives the process that started it, and its record its end") {
  const auto started = run_cli({"run", "-d", "--name", "detached", "counter"});
  INFO(started.out);
  REQUIRE(started.code == 0);
  auto vm = runtime().attach("detached");
  REQUIRE_MESSAGE(vm, why(vm));
  CHECK(shell(*vm, "echo here") == "here\n");
  CHECK_FALSE(vm->info()->dies_with_owner);
  REQUIRE(vm->terminate());
  const auto all = run_cli({"ps", "-a"});
  CHECK(all.out.find("terminated") != std::string::npos);
  CHECK(run_cli({"logs", "--kernel", "detached"}).code == 0);
  CHECK(run_cli({"rm", "detached"}).code == 0);
  CHECK_FALSE(has_directory(vm->id()));
}

TEST_CASE("killing the embedder ends its vms; the next open removes what they left") {
  const size_t before = count_workers();
  const pid_t child = start_cli({"run", "--name", "orphan", "counter"});
  REQUIRE(eventually([] { return runtime().attach("orphan").has_value(); }));
  REQUIRE(eventually([&] { return count_workers() == before + 1; }));
  REQUIRE(::kill(child, SIGKILL) == 0);
  wait_for(child);
  CHECK(eventually([&] { return count_workers() == before; }));
  CHECK(run_cli({"ps", "-a"}).out.find("orphan") == std::string::npos);
  CHECK(runtime().attach("orphan").error().code == ErrorCode::not_found);
}
