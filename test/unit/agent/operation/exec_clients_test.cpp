// Programs of exec that belong to the guest: their clients, and what stays when these leave.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <csignal>
#include <filesystem>
#include <memory>

#include "unit/agent/temporary_root.hpp"
#include "unit/agent/test_exec.hpp"

namespace microvm::agent {
namespace {

bool is_there(uint32_t pid) {
  return kill(static_cast<pid_t>(pid), 0) == 0;
}

bool nobody_attached(Guest& guest) {
  return eventually([&] { return info_of(guest).clients == 0; });
}

// A number a line, from 0 on, as fast as it can or `count` of them.
std::string counting(const std::string& count = "") {
  return "seq 0 " + (count.empty() ? "99999999" : count);
}

// What seq puts out up to so many bytes.
std::string numbers(size_t bytes) {
  std::string text;
  for (uint32_t i = 0; text.size() < bytes; i++) text += std::to_string(i) + "\n";
  text.resize(bytes);
  return text;
}

}  // namespace

TEST_SUITE("agent exec clients") {
  TEST_CASE("a program goes on when its client is lost, and a later one has the rest, once") {
    TestGuest guest;
    uint64_t seen = 0;
    {
      TestExec first(guest);
      auto options = sh("echo one; read line; echo got $line; read line; exit 4");
      options.stdin_open = true;
      first.open(options);
      REQUIRE(first.started);
      CHECK(first.started->writer);
      CHECK(std::string(first.started->id) == "p");
      REQUIRE(first.read_until("one\n"));
      seen = first.out.size();
    }
    REQUIRE(nobody_attached(guest));
    CHECK(is_there(info_of(guest).pid));
    TestExec second(guest);
    second.attach("p", true, seen);
    REQUIRE(second.started);
    CHECK(second.started->position == seen);
    CHECK(second.started->stdin_bytes == 0);
    second.type("hello\n");
    REQUIRE(second.read_until("got hello\n"));
    CHECK(second.out == "got hello\n");
    second.client.send(FrameType::stdin_end);
    CHECK(second.finish().exited->code == 4);
  }

  TEST_CASE("how it ended is kept until somebody has it") {
    TestGuest guest;
    {
      TestExec first(guest);
      first.open(sh("echo last words; echo and errors >&2; exit 9"));
      first.finish();
    }
    REQUIRE(nobody_attached(guest));
    for (int i = 0; i < 2; i++) {
      TestExec late(guest);
      late.attach();
      REQUIRE(late.finish().exited);
      CHECK(late.started->pid == 0);
      CHECK(late.exited->code == 9);
      CHECK(late.out == "last words\n");
      CHECK(late.err == "and errors\n");
      if (i == 1) late.collect();
    }
    CHECK(eventually([&] { return list_execs(guest).empty(); }));
    CHECK(TestExec(guest).attach().failure->error == ENOENT);
  }

  TEST_CASE("one that says it goes is not waited for, one that drops the program ends it") {
    TestGuest guest;
    TestExec leaves(guest);
    leaves.open({.argv = {"sleep", "100"}, .id = "left"});
    leaves.client.send(FrameType::exec_detach);
    CHECK_FALSE(leaves.step());
    CHECK(is_there(info_of(guest, "left").pid));
    TestExec drops(guest);
    drops.open({.argv = {"sleep", "100"}, .id = "dropped"});
    const uint32_t pid = drops.started->pid;
    drops.client.send(FrameType::exec_drop);
    CHECK_FALSE(drops.step());
    CHECK(eventually([&] { return !is_there(pid); }));
    CHECK(eventually([&] { return list_execs(guest).size() == 1; }));
  }

  TEST_CASE("a second attempt of the same request meets the program of the first") {
    TestGuest guest;
    TemporaryRoot files;
    auto options = sh("echo x >>" + (files / "count").string() + "; echo ran; sleep 100");
    options.id = "";
    options.attempt = 77;
    auto first = std::make_unique<TestExec>(guest);
    first->open(options);
    REQUIRE(first->read_until("ran\n"));
    const std::string id = first->started->id;
    first.reset();
    TestExec second(guest);
    second.open(options);
    REQUIRE(second.started);
    CHECK(second.started->id == id);
    REQUIRE(second.read_until("ran\n"));
    CHECK(files.read("count") == "x\n");
    options.attempt = 78;
    TestExec other(guest);
    other.open(options);
    REQUIRE(other.read_until("ran\n"));
    CHECK(other.started->id != id);
  }

  TEST_CASE("ids that are taken, are none, or are unknown") {
    TestGuest guest;
    TestExec first(guest);
    first.open({.argv = {"sleep", "100"}});
    CHECK(TestExec(guest).open(sh("true")).failure->error == EEXIST);
    for (const char* id : {"a b", "a/b", "\xff"}) {
      auto options = sh("true");
      options.id = id;
      CHECK(TestExec(guest).open(options).failure->error == EINVAL);
      CHECK(TestExec(guest).attach(id).failure->error == ENOENT);
    }
    CHECK(failure_of(signal_exec(guest, SIGTERM, "other"))->error == ENOENT);
    OperationClient wait(guest);
    send_exec_wait(wait, "other");
    CHECK(failure_of(wait.read())->error == ENOENT);
  }

  TEST_CASE("it is listed, signalled and waited for by others") {
    TestGuest guest;
    TestExec first(guest);
    first.open(sh("trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done"));
    REQUIRE(first.read_until("ready"));
    const auto info = info_of(guest);
    CHECK(std::string(info.command).find("sh -c trap") == 0);
    CHECK(info.clients == 1);
    CHECK(info.written);
    CHECK(info.output_bytes == 6);
    CHECK_FALSE(info.ended);
    OperationClient waiter(guest);
    send_exec_wait(waiter);
    REQUIRE(waiter.read()->type == FrameType::exec_info);
    CHECK(signal_exec(guest, SIGTERM)->type == FrameType::ok);
    const auto frame = waiter.read();
    REQUIRE(frame);
    REQUIRE(frame->type == FrameType::exited);
    CHECK(decode<microvm_agent_Exited>(*frame, microvm_agent_Exited_fields)->code == 3);
    CHECK(failure_of(signal_exec(guest, SIGTERM))->error == EBUSY);
    CHECK(first.finish().exited->code == 3);
    first.client.close();
    waiter.send(FrameType::pty_collect);
    waiter.close();
    CHECK(eventually([&] { return list_execs(guest).empty(); }));
  }

  TEST_CASE("once somebody has its end it is not known any more, and its readers read on") {
    TestGuest guest;
    TestExec reader(guest);
    reader.open(sh("echo words; exit 2"));
    REQUIRE(eventually([&] { return info_of(guest).ended; }));
    OperationClient waiter(guest);
    send_exec_wait(waiter);
    REQUIRE(waiter.read()->type == FrameType::exec_info);
    REQUIRE(waiter.read()->type == FrameType::exited);
    waiter.send(FrameType::pty_collect);
    REQUIRE(eventually([&] { return list_execs(guest).empty(); }));
    CHECK(TestExec(guest).attach().failure->error == ENOENT);
    TestExec next(guest);
    CHECK(next.open(sh("exit 3")).finish().exited->code == 3);
    CHECK(reader.finish().out == "words\n");
    CHECK(reader.exited->code == 2);
  }

  TEST_CASE("who waits for the end reads nothing, and the program waits for nobody but readers") {
    TestGuest guest;
    TestExec first(guest);
    auto options = sh(counting("200000"));
    options.detached = true;
    first.open(options);
    first.client.send(FrameType::exec_detach);
    OperationClient waiter(guest);
    send_exec_wait(waiter);
    REQUIRE(waiter.read()->type == FrameType::exec_info);
    CHECK(waiter.read()->type == FrameType::exited);
  }

  TEST_CASE("a client that keeps up loses nothing of both streams, however slow it is") {
    TestGuest guest;
    TestExec slow(guest);
    slow.open(sh(counting("300000") + " | tee /dev/stderr"));
    const std::string all = numbers(1'900'000);
    for (int i = 0; !slow.exited && slow.step(); i++) {
      if (i % 8 == 0) sleep_ms(5);
    }
    CHECK(slow.lost == 0);
    CHECK(slow.out.substr(0, all.size()) == all);
    CHECK(slow.out == slow.err);
  }

  TEST_CASE("a program whose client was lost waits for who comes back; nothing is lost then") {
    TestGuest guest;
    std::string text;
    {
      TestExec first(guest);
      first.open(sh(counting()));
      while (first.out.size() < 1'000'000) REQUIRE(first.step());
      text = first.out;
    }
    REQUIRE(stands_still([&] { return info_of(guest).output_bytes; }));
    const uint64_t stands_at = info_of(guest).output_bytes;
    CHECK(stands_at > text.size());
    CHECK(stands_at < text.size() + 1'500'000);
    // What the connection held is more here than a worker's window: from what is kept on.
    TestExec second(guest);
    second.attach("p", false, stands_at - 200'000);
    REQUIRE(second.started);
    while (second.out.size() < 1'000'000) REQUIRE(second.step());
    CHECK(second.lost == 0);
    const std::string all = numbers(stands_at + 900'000);
    CHECK(second.out.substr(0, 1'000'000) == all.substr(stands_at - 200'000, 1'000'000));
    second.client.send(FrameType::exec_drop);
  }

  TEST_CASE("but not for ever: then the oldest output is lost, and it is said how much") {
    TestGuest guest;
    TestExec first(guest);
    first.open(sh(counting()));
    REQUIRE(first.step());
    first.client.close();
    REQUIRE(stands_still([&] { return info_of(guest).output_bytes; }));
    const uint64_t stands_at = info_of(guest).output_bytes;
    const auto before = monotonic_ms();
    // Until the ring has lost something: it goes on at a program's pace.
    const uint64_t lost_at = 2 * kExecRingBytes;
    while (info_of(guest).output_bytes < lost_at && monotonic_ms() - before < 20'000) sleep_ms(100);
    CHECK(info_of(guest).output_bytes > stands_at);
    CHECK(monotonic_ms() - before > 5'000);
    TestExec second(guest);
    second.attach("p", false, 100);
    while (second.out.size() < 100'000) REQUIRE(second.step());
    CHECK(second.lost > 0);
    const std::string all = numbers(std::min<uint64_t>(100 + second.lost + 50'000, 200'000'000));
    if (all.size() == 100 + second.lost + 50'000)
      CHECK(second.out.substr(0, 50'000) == all.substr(all.size() - 50'000));
    second.client.send(FrameType::exec_drop);
  }

  TEST_CASE("a detached program runs on without a reader, and keeps its last output") {
    TestGuest guest;
    TestExec first(guest);
    auto options = sh(counting("500000") + "; echo end; sleep 100");
    options.detached = true;
    first.open(options);
    first.client.close();
    const size_t size = 3'388'897 + 4;  // of seq 0 500000, and the last line
    REQUIRE(eventually([&] { return info_of(guest).output_bytes == size; }));
    TestExec second(guest);
    second.attach();
    REQUIRE(second.read_until("end\n"));
    CHECK(second.out.size() == kExecRingBytes);
    CHECK(second.started->position + second.out.size() == info_of(guest).output_bytes);
    second.client.send(FrameType::exec_drop);
  }

  TEST_CASE("one client writes; another waits for it, or takes over and is told what was read") {
    TestGuest guest;
    TestExec first(guest);
    auto options = sh("while read line; do echo got $line; done");
    options.stdin_open = true;
    first.open(options);
    first.type("one\n");
    REQUIRE(first.read_until("got one\n"));
    CHECK(TestExec(guest).attach("p", true).failure->error == EBUSY);
    TestExec reader(guest);
    reader.attach("p", false);
    CHECK_FALSE(reader.started->writer);
    reader.type("nobody reads this\n");
    microvm_agent_ExecAttachRequest request = microvm_agent_ExecAttachRequest_init_zero;
    copy_text(request.id, "p");
    request.write = request.take_over = true;
    TestExec second(guest);
    second.attach(request);
    REQUIRE(second.started);
    CHECK(second.started->writer);
    CHECK(second.started->stdin_bytes == 4);
    second.type("two\n");
    REQUIRE(second.read_until("got two\n"));
    while (!first.role) REQUIRE(first.step());
    CHECK_FALSE(first.role->writer);
    first.type("three\n");
    second.client.send(FrameType::stdin_end);
    CHECK(second.finish().out == "got one\ngot two\n");
    CHECK(reader.finish().out == "got one\ngot two\n");
    CHECK(first.finish().out == "got one\ngot two\n");
  }

  TEST_CASE("a writer that comes back goes on with its pen, unless another one has written") {
    TestGuest guest;
    TestExec first(guest);
    auto options = sh("while read line; do echo got $line; done");
    options.stdin_open = true;
    first.open(options);
    first.type("one\n");
    REQUIRE(first.read_until("got one\n"));
    microvm_agent_ExecAttachRequest again = microvm_agent_ExecAttachRequest_init_zero;
    copy_text(again.id, "p");
    again.write = again.continues = true;
    again.position = first.out.size();
    again.pen = first.started->pen;
    auto too_far = again;
    too_far.position = 1000;
    CHECK(TestExec(guest).attach(too_far).failure->error == EINVAL);
    first.type("still\n");
    REQUIRE(first.read_until("got still\n"));
    again.position = first.out.size();
    TestExec second(guest);  // the first connection's loss was not noticed yet
    second.attach(again);
    REQUIRE(second.started);
    CHECK(second.started->pen == first.started->pen);
    CHECK(second.started->stdin_bytes == 10);
    CHECK_FALSE(first.step());
    auto other = again;
    other.pen = 0;
    other.take_over = true;
    TestExec third(guest);
    third.attach(other);
    REQUIRE(third.started);
    CHECK(TestExec(guest).attach(again).failure->error == EBUSY);
    third.client.send(FrameType::stdin_end);
    CHECK(third.finish().exited->code == 0);
  }

  TEST_CASE("output that is not there yet can not be known already") {
    TestGuest guest;
    TestExec first(guest);
    first.open(sh("echo one; sleep 100"));
    REQUIRE(first.read_until("one\n"));
    CHECK(TestExec(guest).attach("p", false, 5).failure->error == EINVAL);
    CHECK(TestExec(guest).attach("p", false, 4).started);
    CHECK(TestExec(guest).attach("p", false, UINT64_MAX).failure->error == EINVAL);
    first.client.send(FrameType::exec_drop);
  }

  TEST_CASE("a guest is in use while somebody is attached or waits, and then no more") {
    TestGuest guest;
    TestExec first(guest);
    first.open(sh("echo ready; read line; sleep 100"));
    REQUIRE(first.read_until("ready"));
    CHECK(guest.execs.count_in_use() == 1);
    first.client.close();
    CHECK(eventually([&] { return guest.execs.count_in_use() == 0; }));
    OperationClient waiter(guest);
    send_exec_wait(waiter);
    REQUIRE(waiter.read());
    CHECK(guest.execs.count_in_use() == 1);
    CHECK(signal_exec(guest, SIGKILL)->type == FrameType::ok);
    REQUIRE(waiter.read());
    CHECK(eventually([&] { return guest.execs.count_in_use() == 0; }));
  }

  TEST_CASE("as many run as may, and then one is too many") {
    rlimit files{};
    getrlimit(RLIMIT_NOFILE, &files);
    const rlimit more{.rlim_cur = std::max<rlim_t>(files.rlim_cur, 8192),
                      .rlim_max = std::max<rlim_t>(files.rlim_max, 8192)};
    REQUIRE(setrlimit(RLIMIT_NOFILE, &more) == 0);
    {
      TestGuest guest;
      for (size_t i = 0; i < kMaxLiveExecs; i++) {
        TestExec program(guest);
        program.open({.argv = {"sleep", "1000"}, .id = "", .detached = true});
        REQUIRE(program.started);
        if (i == 0) CHECK(std::string(program.started->id) == "1");
      }
      TestExec extra(guest);
      extra.open({.argv = {"true"}, .id = ""});
      REQUIRE(extra.failure);
      CHECK(extra.failure->error == EAGAIN);
      CHECK(std::string(extra.failure->message) == "1024 execs run already");
      CHECK(signal_exec(guest, SIGKILL, "7")->type == FrameType::ok);
      REQUIRE(eventually([&] { return info_of(guest, "7").ended; }));
      TestExec again(guest);
      CHECK(again.open({.argv = {"true"}, .id = ""}).finish().exited->code == 0);
    }
    setrlimit(RLIMIT_NOFILE, &files);
  }

  TEST_CASE("the last that ended are kept, and not all they have put out") {
    TestGuest guest;
    for (size_t i = 0; i < kMaxEndedExecs + 20; i++) {
      TestExec program(guest);
      auto options = sh("head -c 100000 /dev/zero");
      options.id = "e" + std::to_string(i);
      program.open(options).finish();
    }
    REQUIRE(eventually([&] { return guest.execs.count_in_use() == 0; }));
    const auto infos = list_execs(guest);
    CHECK(infos.size() <= kMaxEndedExecs);
    TestExec newest(guest);
    newest.attach("e" + std::to_string(kMaxEndedExecs + 19));
    CHECK(newest.finish().out.size() == 100'000);
    TestExec older(guest);
    older.attach(infos[1].id);
    CHECK(older.finish().out.size() == kLeastEndedRingBytes);
  }
}

TEST_SUITE("agent exec, what is left behind") {
  TEST_CASE("a process that goes on writing is not ended by that") {
    TestGuest guest;
    TemporaryRoot files;
    const std::string alive = files / "alive";
    TestExec program(guest);
    program.open(
        sh("(while echo to nobody; do echo x >>" + alive + "; sleep 0.02; done; ) & echo $!"));
    REQUIRE(program.finish().exited);
    program.collect();
    program.client.close();
    const auto lines = [&] {
      return std::filesystem::exists(alive) ? files.read("alive").size() : 0;
    };
    const size_t before = lines();
    CHECK(eventually([&] { return lines() > before + 20; }));
    kill(std::stoi(program.out), SIGKILL);
  }

  TEST_CASE("its pipes are let go of when it is gone, and one thread reads them all") {
    Drain drain;
    std::vector<base::Fd> writers;
    for (int i = 0; i < 50; i++) {
      int ends[2];
      REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
      writers.emplace_back(ends[1]);
      drain.adopt(base::Fd(ends[0]));
    }
    CHECK(drain.count() == 50);
    const std::string text(100'000, 'x');
    size_t written = 0;
    for (int i = 0; i < 1000 && written < 50 * 200'000; i++) {
      for (const auto& writer : writers) {
        const ssize_t count = write(writer.get(), text.data(), text.size());
        if (count > 0) written += static_cast<size_t>(count);
      }
      sleep_ms(1);
    }
    CHECK(written >= 50 * 200'000);
    writers.clear();
    CHECK(eventually([&] { return drain.count() == 0; }));
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    close(ends[1]);
    drain.adopt(base::Fd(ends[0]));
    CHECK(drain.count() == 0);
  }

  TEST_CASE("beyond a number, the oldest is closed") {
    Drain drain;
    std::vector<base::Fd> writers;
    for (size_t i = 0; i < Drain::kMaxPipes + 1; i++) {
      int ends[2];
      if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) break;
      writers.emplace_back(ends[1]);
      drain.adopt(base::Fd(ends[0]));
    }
    if (writers.size() == Drain::kMaxPipes + 1) {
      CHECK(eventually([&] { return write(writers[0].get(), "x", 1) < 0; }));
      CHECK(write(writers[1].get(), "x", 1) == 1);
    }
  }
}

}  // namespace microvm::agent
