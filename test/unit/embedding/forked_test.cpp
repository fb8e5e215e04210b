// A program that forks without exec: the child's copies of our handles do nothing but say so.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <functional>
#include <thread>

#include "host/base/home_process.hpp"
#include "microvm/runtime.hpp"
#include "unit/host/vm/fake_vm.hpp"

using namespace microvm;
using test::FakeHost;
using test::FakeVm;
using test::TempDir;

namespace {

constexpr unsigned kChildSeconds = 20;
const CallLimits kInTime{.cancel = nullptr, .timeout = std::chrono::seconds(20)};

// The number of the first question that is answered wrong in a forked child, 0 for none; negative:
// the signal that ended it, SIGALRM when it hung.
int first_wrong_in_child(const std::function<std::vector<bool>()>& questions) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::signal(SIGALRM, SIG_DFL);
    ::alarm(kChildSeconds);
    const auto right = questions();
    const auto wrong = std::find(right.begin(), right.end(), false);
    ::_exit(wrong == right.end() ? 0 : static_cast<int>(wrong - right.begin()) + 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

template <class T>
bool is_refused(const Result<T>& result) {
  return !result && result.error().code == ErrorCode::unsupported &&
         result.error().message.find("forked") != std::string::npos;
}

struct Parent {
  Parent() {
    REQUIRE(vm->exec_collect({.argv = {"true"}}, {}, kInTime));
    auto program = vm->exec({.argv = {"cat"}}, kInTime);
    REQUIRE(program);
    exec.emplace(std::move(*program));
    auto followed = vm->follow_logs(LogSource::app, kInTime);
    REQUIRE(followed);
    log.emplace(std::move(*followed));
    auto told = runtime->events({.follow = true}, kInTime);
    REQUIRE(told);
    events.emplace(std::move(*told));
  }

  TempDir dir;
  FakeHost host{dir.path()};
  FakeVm fake{host};
  std::optional<Vm> vm{Vm(fake.attach(host))};
  std::optional<Exec> exec;
  std::optional<Runtime> runtime{
      std::move(*Runtime::open({.data_dir = dir.path(), .log = {}, .on_event = {}}))};
  std::optional<LogStream> log;
  std::optional<EventStream> events;
};

}  // namespace

TEST_CASE("forked: every call of a copy says whose it is, at once") {
  Parent parent;
  CHECK(first_wrong_in_child([&]() -> std::vector<bool> {
          return {is_refused(parent.runtime->vms()),
                  is_refused(parent.runtime->run("app")),
                  is_refused(parent.runtime->attach(parent.fake.id())),
                  is_refused(parent.vm->info()),
                  is_refused(parent.vm->exec({.argv = {"true"}})),
                  is_refused(parent.vm->connect(80)),
                  is_refused(parent.vm->suspend()),
                  is_refused(parent.vm->terminate()),
                  is_refused(parent.vm->wait()),
                  is_refused(parent.exec->read()),
                  is_refused(parent.exec->signal(SIGTERM)),
                  is_refused(parent.exec->wait()),
                  is_refused(parent.log->try_read()),
                  is_refused(parent.events->next()),
                  is_refused(parent.runtime->start("app")),
                  parent.exec->fd() == -1,
                  parent.vm->id() == parent.fake.id()};
        }) == 0);
  CHECK(parent.vm->exec_collect({.argv = {"true"}}, {}, kInTime));
}

TEST_CASE("forked: dropping the copies ends, removes and awaits nothing") {
  Parent parent;
  CancelToken token;
  CHECK(first_wrong_in_child([&]() -> std::vector<bool> {
          parent.log.reset();
          parent.events.reset();
          parent.exec.reset();
          parent.vm.reset();
          parent.runtime.reset();
          parent.host.core.reset();
          token.cancel();
          return {token.cancelled()};
        }) == 0);
  CHECK(parent.vm->info()->state == VmState::running);
  CHECK(parent.vm->exec_collect({.argv = {"true"}}, {.max_bytes = 10},
                                {.cancel = &token, .timeout = std::chrono::seconds(20)}));
  CHECK(parent.exec->wait(kInTime));
  parent.fake.print("goes on\n");
  const auto printed = parent.log->read(kInTime);
  REQUIRE_MESSAGE(printed, printed.error().message);
  CHECK(printed->value_or("") == "goes on\n");
  REQUIRE(parent.vm->suspend({}, kInTime));
  const auto told = parent.events->next(kInTime);
  REQUIRE_MESSAGE(told, told.error().message);
  CHECK(told->has_value());
}

TEST_CASE("forked: what the last copy of an object would do is not done away from home") {
  struct Ends {
    explicit Ends(std::atomic<int>& where) : count(where) {}
    ~Ends() { ++count; }
    std::atomic<int>& count;
  };
  std::atomic<int> ended = 0;
  auto held = host::make_at_home<Ends>(ended);
  CHECK(first_wrong_in_child([&]() -> std::vector<bool> {
          held.reset();
          return {ended == 0};
        }) == 0);
  held.reset();
  CHECK(ended == 1);
}

TEST_CASE("forked: the child may open a runtime of its own, and use the same microvm through it") {
  Parent parent;
  CHECK(first_wrong_in_child([&]() -> std::vector<bool> {
          auto runtime = Runtime::open({.data_dir = parent.dir.path(), .log = {}, .on_event = {}});
          if (!runtime) return {false};
          const auto vms = runtime->vms();
          auto vm = runtime->attach(parent.fake.id());
          return {true, vms && vms->size() == 1, vm.has_value(),
                  vm && vm->connect(80, kInTime).has_value()};
        }) == 0);
  CHECK(parent.vm->connect(80, kInTime));
}

// The locks are then as they happen to be.
TEST_CASE("forked: in the middle of the other threads' calls, a hundred times") {
  Parent parent;
  std::atomic<bool> enough = false;
  std::vector<std::jthread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&] {
      constexpr int kExecs = 50;  // the other side keeps the stream of each
      for (int n = 0; !enough; ++n) {
        static_cast<void>(parent.vm->info());
        if (n >= kExecs) continue;
        static_cast<void>(parent.vm->exec_collect({.argv = {"true"}}, {}, kInTime));
      }
    });
  }
  int wrong = 0;
  for (int i = 0; i < 100 && wrong == 0; ++i) {
    wrong = first_wrong_in_child([&]() -> std::vector<bool> {
      const std::vector<bool> right = {is_refused(parent.vm->info()),
                                       is_refused(parent.vm->exec({.argv = {"true"}})),
                                       is_refused(parent.exec->read())};
      parent.exec.reset();
      parent.vm.reset();
      return right;
    });
  }
  CHECK(wrong == 0);
  enough = true;
}
