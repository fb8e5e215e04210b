// Real microVMs in a program that forks, and what they cost it in descriptors and threads.
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <optional>
#include <span>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

size_t entries_of(const char* directory) {
  const std::filesystem::directory_iterator all(directory);
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

struct Costs {
  size_t fds = entries_of("/proc/self/fd");
  size_t threads = entries_of("/proc/self/task");
};

std::string text_of(const ExecOutput& output) {
  return {reinterpret_cast<const char*>(output.data.data()), output.data.size()};
}

template <class T>
bool is_refused(const Result<T>& result) {
  return !result && result.error().code == ErrorCode::unsupported;
}

// A process of its own with a microVM that dies with it, and a child of its own that lives on with
// all of its files.
struct Embedder {
  pid_t pid;
  pid_t worker;
  pid_t forked;
};

[[noreturn]] void be_embedder(int report) {
  auto own = Runtime::open({.data_dir = data_dir(), .log = {}, .on_event = {}});
  if (!own) ::_exit(1);
  auto vm = own->run("counter");
  if (!vm) ::_exit(1);
  const auto worker = static_cast<pid_t>(vm->info()->worker_pid);
  const pid_t forked = ::fork();
  if (forked != 0) {
    const std::array<pid_t, 2> pids = {worker, forked};
    if (::write(report, pids.data(), sizeof pids) != sizeof pids) ::_exit(1);
  }
  ::alarm(300);
  for (;;) ::pause();
}

Embedder start_embedder() {
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  runtime();  // the image is there
  const pid_t pid = ::fork();
  if (pid == 0) be_embedder(ends[1]);
  ::close(ends[1]);
  std::array<pid_t, 2> pids{};
  REQUIRE(::read(ends[0], pids.data(), sizeof pids) == sizeof pids);
  ::close(ends[0]);
  return {pid, pids[0], pids[1]};
}

}  // namespace

TEST_CASE("a child that is forked without exec ends nothing of its parent's") {
  static_cast<void>(run_counter());  // what a runtime keeps open from its first microVM on
  const Holdings before = settled_holdings();
  {
    std::optional<Vm> vm(runtime().run("counter").value());
    std::optional<Exec> exec(vm->exec({.argv = {"cat"}, .stdin_open = true}).value());
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(60);
      const bool refused = is_refused(vm->exec({.argv = {"true"}})) && is_refused(vm->suspend()) &&
                           is_refused(exec->read()) && is_refused(vm->terminate());
      exec.reset();
      vm.reset();
      ::_exit(refused ? 0 : 1);
    }
    CHECK(status_within(child, 60) == 0);
    REQUIRE(exec->write_stdin(std::as_bytes(std::span("still there", 11))));
    REQUIRE(exec->close_stdin());
    const auto output = exec->read();
    REQUIRE_MESSAGE(output, why(output));
    CHECK(text_of(**output) == "still there");
    CHECK(exec->wait()->code == 0);
    CHECK(vm->info()->state == VmState::running);
    REQUIRE(vm->terminate());
  }
  check_nothing_left(before);
}

TEST_CASE("microVMs end with their embedder, though a child that it forked has all its files") {
  const Embedder embedder = start_embedder();
  CHECK(::kill(embedder.worker, 0) == 0);
  REQUIRE(::kill(embedder.pid, SIGKILL) == 0);
  REQUIRE(::waitpid(embedder.pid, nullptr, 0) == embedder.pid);
  CHECK(eventually([&] { return ::kill(embedder.worker, 0) != 0; }));
  CHECK(::kill(embedder.forked, 0) == 0);
  // What it has open counts as in use.
  REQUIRE(::kill(embedder.forked, SIGKILL) == 0);
  CHECK(eventually([] {
    const auto other = Runtime::open({.data_dir = data_dir(), .log = {}, .on_event = {}});
    return other && other->vms() && other->vms()->empty();
  }));
}

TEST_CASE("what a runtime, a microVM and a program cost their embedder") {
  runtime();
  const Costs before;
  auto own = Runtime::open({.data_dir = data_dir(), .log = {}, .on_event = {}});
  REQUIRE(own);
  const Costs with_runtime;
  auto vm = own->run("counter");
  REQUIRE_MESSAGE(vm, why(vm));
  REQUIRE(vm->exec_collect({.argv = {"true"}}));  // the first takes the stream that waits for it
  const Costs with_vm;
  auto exec = vm->exec({.argv = {"cat"}, .stdin_open = true});
  REQUIRE_MESSAGE(exec, why(exec));
  const Costs with_exec;
  MESSAGE("descriptors: runtime ", with_runtime.fds - before.fds, ", its first microVM ",
          with_vm.fds - with_runtime.fds, ", a program ", with_exec.fds - with_vm.fds);
  MESSAGE("threads: runtime ", with_runtime.threads - before.threads, ", its first microVM ",
          with_vm.threads - with_runtime.threads, ", a program ",
          with_exec.threads - with_vm.threads);
  CHECK(with_runtime.fds - before.fds <= 6);
  CHECK(with_vm.fds - with_runtime.fds <=
        13);  // four of them keep numbers for later children, one is microvm-net's program
  CHECK(with_exec.fds - with_vm.fds == 1);
  CHECK(with_runtime.threads - before.threads == 1);
  CHECK(with_vm.threads == with_runtime.threads);
  CHECK(with_exec.threads == with_vm.threads);
  REQUIRE(vm->terminate());
}
