// Terminals in a clone: a shell with job control, coming back to it, its size, a client that does
// not read.
#include <csignal>
#include <thread>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

constexpr CallLimits kPatience{.cancel = nullptr, .timeout = std::chrono::seconds(60)};

Pty open(Vm& vm, PtyOptions options) {
  options.env.emplace_back("PS1=> ");
  auto pty = vm.pty(options, kPatience);
  REQUIRE_MESSAGE(pty, why(pty));
  return std::move(*pty);
}

Pty attach(Vm& vm, const std::string& id, const PtyAttachOptions& options = {}) {
  auto pty = vm.attach_pty(id, options, kPatience);
  REQUIRE_MESSAGE(pty, why(pty));
  return std::move(*pty);
}

std::string read_until(Pty& pty, std::string_view text) {
  std::string out;
  CAPTURE(out);
  while (out.find(text) == std::string::npos) {
    const auto output = pty.read(kPatience);
    REQUIRE_MESSAGE(output, why(output));
    if (!*output) break;
    out.append(reinterpret_cast<const char*>((*output)->data.data()), (*output)->data.size());
  }
  CHECK(out.find(text) != std::string::npos);
  return out;
}

void type(Pty& pty, const std::string& keys) {
  const auto written = pty.write(std::as_bytes(std::span(keys)), kPatience);
  REQUIRE_MESSAGE(written, why(written));
}

}  // namespace

TEST_CASE("a shell on a terminal: job control, its size, UTF-8, its exit code") {
  RunningVm vm = run_counter();
  Pty pty = open(vm, {.argv = {"bash", "--norc", "-i"}, .size = {.rows = 33, .columns = 99}});
  CHECK(pty.pid() > 1);
  type(pty, "sleep 1000 &\rjobs; stty size; echo $TERM; pwd; echo 'gr\u00fc\u00dfe '$((6*7))\r");
  const std::string out = read_until(pty, "gr\u00fc\u00dfe 42");
  CHECK(out.find("no job control") == std::string::npos);
  CHECK(out.find("Running") != std::string::npos);
  CHECK(out.find("33 99\r\n") != std::string::npos);
  CHECK(out.find("xterm-256color\r\n/app\r\n") != std::string::npos);
  REQUIRE(pty.resize({.rows = 50, .columns = 132}));
  type(pty, "stty size\r");
  read_until(pty, "50 132\r\n");
  // A shell about to start cat would take the Ctrl-C itself, and the line before it is its own.
  type(pty, "echo go; cat\r");
  read_until(pty, "\rgo\r\n");
  type(pty, "meow\r");
  read_until(pty, "meow\r\nmeow\r\n");
  type(pty, "\x03");      // ends cat, not the shell
  read_until(pty, "> ");  // before that cat may still take a line
  type(pty, "echo status=$?\r");
  read_until(pty, "status=130");
  type(pty, "kill %1; exit 7\r");
  const auto status = pty.wait(kPatience);
  REQUIRE_MESSAGE(status, why(status));
  CHECK(status->code == 7);
}

TEST_CASE("without a program it is the login shell; any user has a terminal of its own") {
  RunningVm vm = run_counter();
  Pty login = open(vm, {});
  type(login, "echo shell=$0; exit\r");
  read_until(login, "shell=/bin/bash");
  CHECK(login.wait(kPatience)->code == 0);
  Pty other = open(vm, {.argv = {"sh", "-c", "id -un; echo again >$(tty)"}, .user = "nobody"});
  read_until(other, "nobody\r\nagain\r\n");
}

TEST_CASE("a session outlives its client; a new one sees what it put out, and its exit status") {
  RunningVm vm = run_counter();
  {
    Pty first = open(vm, {.argv = {"sh", "-c", "echo before; read a; echo got $a; read b; exit 5"},
                          .id = "work"});
    read_until(first, "before");
  }
  Pty second = attach(vm, "work", {.take_over = true});
  read_until(second, "before");
  type(second, "hello\r");
  read_until(second, "got hello");
  const auto infos = vm.ptys(kPatience);
  REQUIRE_MESSAGE(infos, why(infos));
  REQUIRE(infos->size() == 1);
  CHECK((*infos)[0].id == "work");
  CHECK((*infos)[0].pid == second.pid());
  type(second, "\r");
  second.detach();
  for (int i = 0; i < 100 && !(*vm.ptys(kPatience))[0].ended; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  Pty late = attach(vm, "work");
  read_until(late, "got hello");
  const auto status = late.wait(kPatience);
  REQUIRE_MESSAGE(status, why(status));
  CHECK(status->code == 5);
}

TEST_CASE("a client that stops reading delays the program for a moment only") {
  RunningVm vm = run_counter();
  Pty stuck = open(
      vm, {.argv = {"sh", "-c", "stty raw; head -c 4000000 /dev/zero; touch /tmp/done; read a"},
           .id = "flood"});
  CHECK(shell(vm,
              "for i in $(seq 600); do [ -e /tmp/done ] && { echo done; exit; }; sleep 0.1; "
              "done") == "done\n");
  uint64_t got = 0;
  uint64_t lost = 0;
  while (got + lost < 4'000'000) {
    const auto output = stuck.read(kPatience);
    REQUIRE_MESSAGE(output, why(output));
    REQUIRE(output->has_value());
    got += (*output)->data.size();
    lost += (*output)->lost_bytes;
  }
  CHECK(lost > 0);
  CHECK(got + lost == 4'000'000);
  const auto closed = vm.close_pty("flood", kPatience);
  CHECK_MESSAGE(closed, why(closed));
  CHECK(vm.attach_pty("flood", {}, kPatience).error().code == ErrorCode::not_found);
}
