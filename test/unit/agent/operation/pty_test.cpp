// Terminal sessions: a program and its terminal, with real ones of this kernel.
#include "agent/operation/pty.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <csignal>

#include "suite/skip.hpp"
#include "unit/agent/test_terminal.hpp"

namespace microvm::agent {

TEST_SUITE("agent pty") {
  TEST_CASE("a program has a terminal of the given size, as its controlling one") {
    TestGuest guest;
    TestTerminal terminal(guest);
    terminal.open({.argv = {"sh", "-c", "tty; stty size; echo to-tty >/dev/tty; exit 7"},
                   .rows = 33,
                   .columns = 101});
    REQUIRE(terminal.opened);
    CHECK(terminal.opened->writer);
    CHECK(terminal.opened->pid > 0);
    CHECK(std::string(terminal.opened->id) == "t");
    terminal.finish();
    CHECK(terminal.out.find("/dev/pts/") == 0);
    CHECK(terminal.out.find("\r\n33 101\r\nto-tty\r\n") != std::string::npos);
    REQUIRE(terminal.exited);
    CHECK(terminal.exited->code == 7);
  }

  TEST_CASE("an interactive shell has job control") {
    TestGuest guest;
    TestTerminal terminal(guest);
    terminal.open({.argv = {"bash", "--norc", "-i"}});
    terminal.type("sleep 100 &\n");
    terminal.type("jobs; echo $((6*7)).\n");
    REQUIRE(terminal.read_until("42."));
    CHECK(terminal.out.find("Running") != std::string::npos);
    CHECK(terminal.out.find("no job control") == std::string::npos);
    terminal.type("kill %1; exit 5\n");
    CHECK(terminal.finish().exited->code == 5);
  }

  TEST_CASE("without a program it is the user's shell") {
    TestGuest guest;
    TestTerminal terminal(guest);
    terminal.open({});
    terminal.type("echo shell=$0; exit\n");
    terminal.finish();
    CHECK(terminal.out.find("shell=/") != std::string::npos);
  }

  TEST_CASE("a program that cannot be started is told, and leaves no session") {
    TestGuest guest;
    TestTerminal terminal(guest);
    terminal.open({.argv = {"no-such-program"}});
    REQUIRE(terminal.exited);
    CHECK(terminal.exited->code == 127);
    CHECK(std::string(terminal.exited->message).find("not found") != std::string::npos);
    CHECK(eventually([&] { return list_terminals(guest).empty(); }));
    CHECK(list_terminals(guest).empty());
  }

  TEST_CASE("a user other than root has its terminal") {
    if (geteuid() != 0) SKIP_CASE("needs root: only it can become somebody else");
    TestGuest guest;
    TestTerminal terminal(guest);
    terminal.open({.argv = {"sh", "-c", "id -u; echo again >$(tty)"}, .user = "65534:65534"});
    CHECK(terminal.finish().out == "65534\r\nagain\r\n");
  }

  TEST_CASE("keys pass the line discipline: echo, and Ctrl-C interrupts") {
    TestGuest guest;
    TestTerminal terminal(guest);
    terminal.open(
        script("trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done"));
    REQUIRE(terminal.read_until("ready"));
    terminal.type("abc");
    REQUIRE(terminal.read_until("abc"));
    terminal.type("\x03");
    terminal.finish();
    CHECK(terminal.out.find("^C") != std::string::npos);
    CHECK(terminal.out.find("caught") != std::string::npos);
    CHECK(terminal.exited->code == 3);
  }

  TEST_CASE("a new size comes with SIGWINCH") {
    TestGuest guest;
    TestTerminal terminal(guest);
    terminal.open(script("trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done"));
    REQUIRE(terminal.read_until("ready"));
    terminal.resize(50, 132);
    CHECK(terminal.finish().out.find("50 132") != std::string::npos);
  }

  TEST_CASE("a signal goes to the program in the foreground") {
    TestGuest guest;
    TestTerminal terminal(guest);
    terminal.open({.argv = {"bash", "--norc", "-i"}});
    terminal.type("sh -c 'echo go; exec sleep 100'; echo status=$?\n");
    REQUIRE(terminal.read_until("\ngo"));
    terminal.signal(SIGTERM);
    REQUIRE(terminal.read_until("status=143"));
    terminal.type("exit\n");
    CHECK(terminal.finish().exited->code == 0);
  }

  TEST_CASE("bytes pass as they are, characters split anywhere") {
    TestGuest guest;
    TestTerminal terminal(guest);
    terminal.open(script("stty raw -echo; echo ready; head -c 4000 | cat"));
    REQUIRE(terminal.read_until("ready"));
    terminal.out.clear();
    std::string text;
    while (text.size() < 3990) text += "\u00e4\u20ac\U0001F600";
    text.resize(4000, '.');
    for (size_t i = 0; i < text.size(); i += 7) terminal.type(text.substr(i, 7));
    terminal.finish();
    CHECK(terminal.out.substr(terminal.out.size() - text.size()) == text);
  }

  TEST_CASE("what a program left running does not hold its session open") {
    TestGuest guest;
    TestTerminal terminal(guest);
    terminal.open(script("trap '' HUP; sleep 100 & echo $! ; exit 1"));
    CHECK(terminal.finish().exited->code == 1);
    kill(std::stoi(terminal.out), SIGKILL);
  }

  TEST_CASE("a program without its terminal is waited for, and costs nothing") {
    TestGuest guest;
    TestTerminal terminal(guest);
    terminal.open(script("exec <&- >&- 2>&-; sleep 0.5; exit 8"));
    timespec before{};
    timespec after{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    CHECK(terminal.finish().exited->code == 8);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    const auto spent =
        (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1'000'000;
    CHECK(spent < 250);
  }

  TEST_CASE("closing hangs up; a program that ignores that is killed") {
    TestGuest guest;
    TestTerminal polite(guest);
    polite.open(
        {.argv = {"sh", "-c", "trap 'exit 3' HUP; echo ready; while :; do sleep 0.05; done"},
         .id = "polite"});
    TestTerminal stubborn(guest);
    stubborn.open({.argv = {"sh", "-c", "trap '' HUP; echo ready; while :; do sleep 0.05; done"},
                   .id = "stubborn"});
    REQUIRE(polite.read_until("ready"));
    REQUIRE(stubborn.read_until("ready"));
    for (const char* id : {"polite", "stubborn"}) {
      const auto answer = close_terminal(guest, id);
      REQUIRE(answer);
      CHECK(answer->type == FrameType::ok);
    }
    CHECK(list_terminals(guest).empty());
    CHECK(close_terminal(guest)->type == FrameType::failed);
  }
}

}  // namespace microvm::agent
