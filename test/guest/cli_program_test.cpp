// Programs of a microVM as the CLI runs them: without standard streams, cut short by signals, with
// variables of the caller; and how long a microVM of the CLI lives.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <optional>

#include "fixture.hpp"
#include "unit/without_streams.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

constexpr double kSoon = 30;

// What the shell says of a line's status; what the line itself printed comes before.
std::string with_status(const std::string& line) {
  return run_line(line + "; echo status $?").out;
}

// A program of the guest that says when it can be signalled.
std::vector<std::string> says_ready(const std::string& script) {
  return {"sh", "-c", script + "; touch /tmp/ready; while :; do sleep 0.1; done"};
}

void wait_until_ready(Vm& vm) {
  REQUIRE(eventually([&] { return shell_result(vm, "rm /tmp/ready").status.code == 0; }));
}

// As exec ID -- PROGRAM, once that can be signalled.
pid_t start_program(Vm& vm, const std::string& script) {
  std::vector<std::string> line = {"exec", vm.id(), "--"};
  for (const std::string& word : says_ready(script)) line.push_back(word);
  const pid_t client = start_cli(line);
  wait_until_ready(vm);
  return client;
}

bool nothing_sleeps(Vm& vm) {
  return eventually([&] { return shell_result(vm, "pgrep -x sleep").status.code != 0; });
}

constexpr const char* kCleansUp = "trap 'echo got > /tmp/sig; exit 9' INT TERM HUP";

// All that a Runtime does with a microVM, in a process without standard streams.
bool lives_without_streams() {
  ::alarm(300);
  auto runtime = Runtime::open({.data_dir = data_dir(), .log = {}, .on_event = {}});
  if (!runtime) return false;
  auto vm = runtime->run("counter");
  if (!vm) return false;
  const ExecOptions echo{.argv = {"sh", "-c", "cat; echo out; echo err >&2; exit 7"}};
  for (int round = 0; round < 2; ++round) {
    const auto ran = vm->exec_collect(echo);
    if (!ran || ran->status.code != 7 || ran->out != "out\n" || ran->err != "err\n") return false;
    if (round == 0 && !vm->suspend()) return false;
  }
  const auto forks = vm->fork();
  return forks && test::low_fds_are_free();
}

}  // namespace

TEST_CASE("cli programs: missing standard streams are ended ones, and statuses are kept") {
  RunningVm vm = run_detached();
  const std::string exec = "microvm exec " + vm.id() + " ";
  CHECK(with_status("microvm exec -i " + vm.id() + " cat <&-") == "status 0\n");
  CHECK(with_status(exec + "sh -c 'echo out; exit 7' >&-") == "status 7\n");
  CHECK(with_status(exec + "sh -c 'echo err >&2; exit 7' 2>&-") == "status 7\n");
  CHECK(with_status(exec + "sh -c 'echo out; exit 7' <&- 2>&-") == "out\nstatus 7\n");
  CHECK(with_status("microvm exec -i " + vm.id() + " sh -c 'cat; exit 7' <&- >&- 2>&-") ==
        "status 7\n");
  CHECK(with_status("microvm run -d --name silent counter <&- >&- 2>&-") == "status 0\n");
  CHECK(run_cli({"rm", "-f", "silent"}).code == 0);
}

TEST_CASE("the library is right in a process without standard streams") {
  runtime();
  CHECK(test::holds_without_streams(lives_without_streams));
}

TEST_CASE("cli programs: a signal is passed on, and the program's own end is the command's") {
  RunningVm vm = run_detached();
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const pid_t client = start_program(vm, kCleansUp);
    REQUIRE(::kill(client, signal) == 0);
    CHECK(status_within(client, kSoon) == 9);
    CHECK(shell(vm, "cat /tmp/sig; rm /tmp/sig") == "got\n");
  }
  const pid_t plain = start_program(vm, ":");
  REQUIRE(::kill(plain, SIGTERM) == 0);
  CHECK(status_within(plain, kSoon) == 128 + SIGTERM);
  CHECK(nothing_sleeps(vm));
}

TEST_CASE("cli programs: the second signal ends at once, and others are only passed on") {
  RunningVm vm = run_detached();
  const pid_t deaf = start_program(vm, "trap '' INT TERM; trap 'echo >> /tmp/usr1' USR1");
  for (int i = 0; i < 2; ++i) {
    REQUIRE(::kill(deaf, SIGUSR1) == 0);
    REQUIRE(eventually([&] {
      return shell(vm, "cat /tmp/usr1 2>/dev/null || :").size() == static_cast<size_t>(i + 1);
    }));
  }
  REQUIRE(::kill(deaf, SIGINT) == 0);
  std::this_thread::sleep_for(std::chrono::seconds(1));
  REQUIRE(::kill(deaf, 0) == 0);
  const double seconds = seconds_of([&] {
    REQUIRE(::kill(deaf, SIGTERM) == 0);
    CHECK(status_within(deaf, kSoon) == 128 + SIGTERM);
  });
  CHECK(seconds < 5);
  CHECK(nothing_sleeps(vm));
}

TEST_CASE("cli programs: a signal reaches the command of run, and no microvm is left") {
  std::vector<std::string> line = {"run", "--name", "signalled", "counter", "--"};
  for (const std::string& word : says_ready(kCleansUp)) line.push_back(word);
  const pid_t client = start_cli(line);
  REQUIRE(eventually([&] { return bool{runtime().attach("signalled")}; }));
  auto vm = runtime().attach("signalled");
  REQUIRE_MESSAGE(vm, why(vm));
  wait_until_ready(*vm);
  REQUIRE(::kill(client, SIGTERM) == 0);
  CHECK(status_within(client, kSoon) == 9);
  CHECK(eventually([] { return !runtime().attach("signalled"); }));
}

TEST_CASE("cli programs: variables by their names, and of files") {
  RunningVm vm = run_detached();
  const TempDir dir;
  dir.write("env", "# of the file\nFROM_FILE=x y\nFOO=file\n");
  const auto ran = run_line("FOO=here microvm exec --env-file " + (dir.path() / "env").string() +
                            " -e FOO -e NOT_HERE " + vm.id() +
                            " sh -c 'echo $FROM_FILE; echo $FOO; echo ${NOT_HERE-unset}'");
  CHECK(ran.out == "x y\nhere\nunset\n");
  CHECK(run_cli({"exec", "-e", "=x", vm.id(), "env"}).code == 2);
  CHECK(run_cli({"exec", "--env-file", "/nowhere", vm.id(), "env"}).code == 2);
}

TEST_CASE("cli: a lifetime ends a microvm in the foreground, what sleeps may wait for resume") {
  const auto lived = run_cli({"run", "--lifetime", "2s", "counter"});
  INFO(lived.out);
  CHECK(lived.code == 1);
  CHECK(lived.out == "microvm: terminated\n");

  const auto started = run_cli({"run", "-d", "--no-auto-resume", "--name", "sleeper", "counter"});
  REQUIRE(started.code == 0);
  REQUIRE(run_cli({"suspend", "sleeper"}).code == 0);
  const auto refused = run_cli({"exec", "sleeper", "true"});
  CHECK(refused.code == 125);
  CHECK(has(refused.out, "resume it first"));
  CHECK(run_cli({"resume", "sleeper"}).code == 0);
  CHECK(run_cli({"exec", "sleeper", "true"}).code == 0);
  CHECK(run_cli({"rm", "-f", "sleeper"}).code == 0);
}
