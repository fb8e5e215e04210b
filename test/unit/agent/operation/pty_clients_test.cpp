// Terminal sessions: their clients, and what stays when these leave.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <csignal>
#include <memory>

#include "agent/operation/pty.hpp"
#include "unit/agent/test_terminal.hpp"

namespace microvm::agent {

TEST_SUITE("agent pty clients") {
  TEST_CASE("closing the connection detaches; a later client sees the recent output") {
    TestGuest guest;
    {
      TestTerminal first(guest);
      first.open(script("echo before; read line; echo got $line; read line; exit 4"));
      REQUIRE(first.read_until("before"));
    }
    REQUIRE(eventually([&] { return list_terminals(guest).at(0).clients == 0; }));
    CHECK(kill(static_cast<pid_t>(list_terminals(guest)[0].pid), 0) == 0);
    TestTerminal second(guest);
    second.attach(true);
    REQUIRE(second.opened);
    CHECK(second.opened->position == 0);
    CHECK(second.opened->replay_bytes == std::string("before\r\n").size());
    second.type("hello\n");
    REQUIRE(second.read_until("got hello"));
    CHECK(second.out.find("before\r\n") == 0);
    second.type("\n");
    CHECK(second.finish().exited->code == 4);
  }

  TEST_CASE("a client that knows what it has seen gets the rest, once") {
    TestGuest guest;
    uint64_t seen = 0;
    {
      TestTerminal first(guest);
      first.open(script("echo one; read line; echo two; read line"));
      REQUIRE(first.read_until("one\r\n"));
      seen = first.out.size();
    }
    TestTerminal second(guest);
    microvm_agent_PtyAttachRequest request = microvm_agent_PtyAttachRequest_init_zero;
    copy_text(request.id, "t");
    request.write = true;
    request.take_over = true;  // the first one may not have been missed yet
    request.continues = true;
    request.position = seen;
    second.attach(request);
    REQUIRE(second.opened);
    CHECK(second.opened->position == seen);
    second.type("\n");
    REQUIRE(second.read_until("two\r\n"));
    CHECK(second.out == "\r\ntwo\r\n");
    second.type("\n");
    second.finish();
  }

  TEST_CASE("the end of a detached program can be learnt later, once") {
    TestGuest guest;
    {
      TestTerminal first(guest);
      first.open(script("echo last words; read line; exit 9"));
      REQUIRE(first.read_until("last words"));
      first.type("\n");
    }
    REQUIRE(eventually([&] { return list_terminals(guest).at(0).ended; }));
    CHECK(list_terminals(guest)[0].code == 9);
    for (int i = 0; i < 2; i++) {  // it is kept until somebody says to have it
      TestTerminal late(guest);
      late.attach(true);
      REQUIRE(late.finish().exited);
      CHECK(late.exited->code == 9);
      CHECK(late.out.find("last words") == 0);
      if (i == 1) late.client.send(FrameType::pty_collect);
    }
    CHECK(eventually([&] { return list_terminals(guest).empty(); }));
    TestTerminal too_late(guest);
    too_late.attach();
    REQUIRE(too_late.failure);
    CHECK(too_late.failure->error == ENOENT);
  }

  TEST_CASE("only the last ended sessions are kept") {
    TestGuest guest;
    for (size_t i = 0; i < kMaxEndedPtys + 3; i++) {
      TestTerminal terminal(guest);
      terminal.open({.argv = {"true"}, .id = ""});
      REQUIRE(terminal.finish().exited);
    }
    const auto infos = list_terminals(guest);
    CHECK(infos.size() == kMaxEndedPtys);
    CHECK(std::string(infos.front().id) == "4");
  }

  TEST_CASE("a client that leaves while its keys wait is dropped") {
    TestGuest guest;
    TestTerminal terminal(guest);
    terminal.open(script("stty raw -echo; echo ready; exec sleep 100"));
    REQUIRE(terminal.read_until("ready"));
    terminal.client.fill_stdin();
    CHECK(list_terminals(guest).at(0).clients == 1);
    shutdown(terminal.client.fd(), SHUT_RD);  // as a vsock whose host closes then
    CHECK(eventually([&] { return list_terminals(guest).at(0).clients == 0; }));
  }

  TEST_CASE("several readers see the same") {
    TestGuest guest;
    TestTerminal writer(guest);
    writer.open(script("read line; echo to all; exit 2"));
    TestTerminal one(guest);
    one.attach();
    TestTerminal two(guest);
    two.attach();
    REQUIRE(one.opened);
    CHECK_FALSE(one.opened->writer);
    writer.type("x\n");
    for (TestTerminal* each : {&writer, &one, &two}) {
      CHECK(each->finish().out == "x\r\nto all\r\n");
      CHECK(each->exited->code == 2);
    }
  }

  TEST_CASE("one writes at a time: others are refused, read only, or take over") {
    TestGuest guest;
    TestTerminal first(guest);
    first.open(script("stty -echo; echo ready; while read line; do echo \"[$line]\"; done"));
    REQUIRE(first.read_until("ready"));
    TestTerminal refused(guest);
    refused.attach(true);
    REQUIRE(refused.failure);
    CHECK(refused.failure->error == EBUSY);
    TestTerminal reader(guest);
    reader.attach();
    reader.type("from the reader\n");
    reader.resize(1, 1);
    reader.signal(SIGKILL);
    TestTerminal second(guest);
    second.attach(true, true);
    REQUIRE(second.opened);
    CHECK(second.opened->writer);
    CHECK(second.opened->rows == 24);
    while (!first.role && first.step()) {
    }
    REQUIRE(first.role);
    CHECK_FALSE(first.role->writer);
    first.type("from the first\n");
    second.type("from the second\n");
    REQUIRE(second.read_until("[from the second]"));
    CHECK(second.out.find("[from the first]") == std::string::npos);
    CHECK(second.out.find("[from the reader]") == std::string::npos);
  }

  TEST_CASE("shared writing: all may") {
    TestGuest guest;
    TestTerminal first(guest);
    auto options = script("stty -echo; echo ready; while read line; do echo \"[$line]\"; done");
    options.shared_writing = true;
    first.open(options);
    REQUIRE(first.read_until("ready"));
    TestTerminal second(guest);
    second.attach(true);
    first.type("a\n");
    REQUIRE(second.read_until("[a]"));
    second.type("b\n");
    REQUIRE(first.read_until("[b]\r\n"));
    REQUIRE(second.read_until("[b]\r\n"));
    CHECK(first.out == second.out.substr(second.out.find("ready")));
  }

  TEST_CASE("output waits for a client that reads, and all of it arrives") {
    TestGuest guest;
    TestTerminal terminal(guest);
    terminal.open(script("stty raw; head -c 3000000 /dev/zero"));
    terminal.finish();
    CHECK(terminal.lost == 0);
    CHECK(terminal.out.size() == 3'000'000);
  }

  TEST_CASE("a client that does not read is left behind, the program and the others go on") {
    TestGuest guest;
    TestTerminal stuck(guest);
    stuck.open(script("stty raw; head -c 3000000 /dev/zero; printf end; read line"));
    REQUIRE(stuck.opened);
    TestTerminal other(guest);
    other.attach();
    CHECK(other.read_until("end"));
    CHECK(other.lost == 0);
    CHECK(other.out.size() == 3'000'003);
    CHECK(stuck.read_until("end"));
    CHECK(stuck.lost > 0);
    CHECK(stuck.lost + stuck.out.size() == 3'000'003);
  }

  TEST_CASE("nobody attached: the program does not wait") {
    TestGuest guest;
    TestTerminal(guest).open(script("stty raw; head -c 3000000 /dev/zero; exit 6"));
    REQUIRE(eventually([&] { return list_terminals(guest).at(0).ended; }));
    TestTerminal late(guest);
    late.attach();
    CHECK(late.finish().exited->code == 6);
    CHECK(late.out.size() == kPtyEndedRingBytes);
  }

  TEST_CASE("what breaks the bounds is refused") {
    TestGuest guest;
    TestTerminal bad_name(guest);
    bad_name.open({.argv = {"true"}, .id = "a/b"});
    REQUIRE(bad_name.failure);
    CHECK(bad_name.failure->error == EINVAL);
    TestTerminal first(guest);
    first.open(script("read line"));
    TestTerminal again(guest);
    again.open(script("read line"));
    REQUIRE(again.failure);
    CHECK(again.failure->error == EEXIST);
    std::vector<std::unique_ptr<TestTerminal>> readers;
    for (size_t i = 0; i <= kMaxPtyClients - 1; i++) {
      readers.push_back(std::make_unique<TestTerminal>(guest));
      readers.back()->attach();
    }
    CHECK(readers.front()->opened);
    REQUIRE(readers.back()->failure);
    CHECK(readers.back()->failure->error == EAGAIN);
    first.client.send(FrameType::file_data, "x");
    const auto told = failure_of(first.client.read());
    REQUIRE(told);
    CHECK(told->error == EPROTO);
    CHECK_FALSE(first.client.read());
  }

  TEST_CASE("no more sessions than fit") {
    TestGuest guest;
    for (size_t i = 0; i < kMaxLivePtys; i++) {
      TestTerminal terminal(guest);
      terminal.open({.argv = {"cat"}, .id = ""});
      REQUIRE(terminal.opened);
    }
    TestTerminal extra(guest);
    extra.open({.argv = {"cat"}, .id = ""});
    REQUIRE(extra.failure);
    CHECK(extra.failure->error == EAGAIN);
  }
}

}  // namespace microvm::agent
