#include "agent/operation/exec.hpp"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <sstream>
#include <thread>

#include "suite/skip.hpp"
#include "unit/agent/operation_client.hpp"
#include "unit/agent/temporary_root.hpp"
#include "unit/agent/waiting.hpp"
#include "unit/deaf_caller.hpp"

namespace microvm::agent {
namespace {

ExecOutcome shell(Guest& guest, const std::string& script) {
  return exec(guest, {.argv = {"sh", "-c", script}});
}

bool wait_until_gone(const std::string& pid) {
  return eventually([&] { return kill(std::stoi(pid), 0) != 0; });
}

std::string read_some_output(OperationClient& client) {
  while (const auto frame = client.read()) {
    if (frame->type == FrameType::stdout_data) return frame->body;
  }
  return {};
}

}  // namespace

TEST_SUITE("agent exec") {
  TEST_CASE("streams and exit code") {
    TestGuest guest;
    const auto outcome = shell(guest, "echo out; echo err >&2; exit 42");
    CHECK(outcome.started);
    CHECK(outcome.out == "out\n");
    CHECK(outcome.err == "err\n");
    REQUIRE(outcome.exited);
    CHECK(outcome.exited->code == 42);
    CHECK(outcome.exited->signal == 0);
    CHECK_FALSE(outcome.exited->timed_out);
  }

  TEST_CASE("a program that cannot be started") {
    TestGuest guest;
    TemporaryRoot files;
    files.write("plain", "text");
    files.write("script", "#!/no/such/interpreter\n");
    files.write("garbage", std::string("\x7f\x45\x4c\x46garbage"));
    for (const char* name : {"script", "garbage"})
      std::filesystem::permissions(files / name, std::filesystem::perms::all);
    const struct {
      std::string program;
      int code;
      std::string message;
    } cases[] = {
        {"no-such-program", 127, "exec: \"no-such-program\": not found in PATH"},
        {"/no/such", 127, "exec: \"/no/such\": no such file or directory"},
        {files / "plain", 126, "permission denied"},
        {files / "script", 127, "the interpreter it names is missing"},
        {files / "garbage", 126, "exec format error"},
        {"/", 126, "permission denied"},
    };
    for (const auto& [program, code, message] : cases) {
      CAPTURE(program);
      const auto outcome = exec(guest, {.argv = {program}});
      CHECK_FALSE(outcome.started);
      REQUIRE(outcome.exited);
      CHECK(outcome.exited->code == code);
      CHECK(std::string(outcome.exited->message).find(message) != std::string::npos);
    }
  }

  TEST_CASE("a missing working directory is named") {
    TestGuest guest;
    const auto outcome = exec(guest, {.argv = {"true"}, .cwd = "/no/such"});
    REQUIRE(outcome.exited);
    CHECK(outcome.exited->code == 126);
    CHECK(std::string(outcome.exited->message) == "cwd \"/no/such\": no such file or directory");
  }

  TEST_CASE("an unknown user is named") {
    TestGuest guest;
    const auto outcome = exec(guest, {.argv = {"true"}, .user = "nobody-here"});
    REQUIRE(outcome.exited);
    CHECK(outcome.exited->code == 126);
    CHECK(std::string(outcome.exited->message).find("\"nobody-here\"") != std::string::npos);
  }

  TEST_CASE("environment, working directory, HOME") {
    TestGuest guest;
    auto outcome = exec(guest, {.argv = {"sh", "-c", "echo $A-$HOME; pwd"},
                                .env = {"PATH=/bin:/usr/bin", "A=b c"},
                                .cwd = "/usr",
                                .user = "0"});
    CHECK(outcome.out == "b c-/root\n/usr\n");
    outcome = exec(guest, {.argv = {"sh", "-c", "echo $HOME; pwd"}, .env = {"HOME=/mine"}});
    CHECK(outcome.out == "/mine\n/\n");
  }

  TEST_CASE("PATH of the given environment decides") {
    TestGuest guest;
    TemporaryRoot files;
    files.write("bin/mine", "#!/bin/sh\necho found $0\n");
    std::filesystem::permissions(files / "bin/mine", std::filesystem::perms::all);
    const std::string path = (files / "bin").string();
    const auto outcome = exec(guest, {.argv = {"mine"}, .env = {"PATH=/none:" + path + ":/bin"}});
    CHECK(outcome.out == "found " + path + "/mine\n");
  }

  TEST_CASE("its own session, no descriptor of the agent") {
    TestGuest guest;
    const auto outcome = shell(guest,
                               "cut -d' ' -f5,6 /proc/$$/stat; echo $$;"
                               "cat /proc/self/oom_score_adj");
    std::istringstream lines(outcome.out);
    std::string session, pid, oom;
    for (auto* line : {&session, &pid, &oom}) std::getline(lines, *line);
    CHECK(session == pid + " " + pid);
    CHECK(oom == "0");
    // 3 is what ls itself reads.
    CHECK(exec(guest, {.argv = {"ls", "/proc/self/fd"}}).out == "0\n1\n2\n3\n");
  }

  TEST_CASE("no signal is ignored or blocked, whatever the caller ignores and blocks") {
    TestGuest guest;
    const test::DeafCaller caller;
    const auto outcome =
        exec(guest, {.argv = {"grep", "-E", "Sig(Blk|Ign):", "/proc/self/status"}});
    CHECK(outcome.out == "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
  }

  TEST_CASE("another user") {
    if (geteuid() != 0) SKIP_CASE("needs root: only it can become somebody else");
    TestGuest guest;
    auto outcome =
        exec(guest, {.argv = {"sh", "-c", "id -u; id -g; id -G; echo again >/dev/stdout"},
                     .user = "4321:8765"});
    CHECK(outcome.out == "4321\n8765\n8765\nagain\n");
    outcome = exec(guest, {.argv = {"sh", "-c", "id -un; cat /proc/self/status | grep CapEff"},
                           .user = "nobody"});
    CHECK(outcome.out == "nobody\nCapEff:\t0000000000000000\n");
  }

  TEST_CASE("stdin is empty unless asked for") {
    TestGuest guest;
    CHECK(shell(guest, "cat; echo end").out == "end\n");
  }

  TEST_CASE("stdin to its end") {
    TestGuest guest;
    OperationClient client(guest);
    send_exec(client, {.argv = {"cat"}, .stdin_open = true});
    client.send(FrameType::stdin_data, "one ").send(FrameType::stdin_data, "");
    client.send(FrameType::stdin_data, "two").send(FrameType::stdin_end);
    const auto outcome = read_exec(client);
    CHECK(outcome.out == "one two");
    REQUIRE(outcome.exited);
    CHECK(outcome.exited->code == 0);
  }

  TEST_CASE("much data both ways at once") {
    TestGuest guest;
    OperationClient client(guest);
    send_exec(client, {.argv = {"cat"}, .stdin_open = true});
    std::string sent;
    for (uint32_t i = 0; sent.size() < 8 * 1024 * 1024; i++) sent += std::to_string(i) + "\n";
    std::thread writer([&] {
      for (size_t at = 0; at < sent.size(); at += wire::kMaxFrameBody)
        client.send(FrameType::stdin_data, std::string_view(sent).substr(at, wire::kMaxFrameBody));
      client.send(FrameType::stdin_end);
    });
    const auto outcome = read_exec(client);
    writer.join();
    CHECK(outcome.out.size() == sent.size());
    CHECK(outcome.out == sent);
  }

  TEST_CASE("a program that does not read stdin is not waited for") {
    TestGuest guest;
    OperationClient client(guest);
    send_exec(client,
              {.argv = {"sh", "-c", "exec <&-; echo closed; sleep 0.1"}, .stdin_open = true});
    const std::string data(200'000, 'x');
    for (int i = 0; i < 10; i++) client.send(FrameType::stdin_data, data);
    const auto outcome = read_exec(client);
    CHECK(outcome.out == "closed\n");
    REQUIRE(outcome.exited);
    CHECK(outcome.exited->code == 0);
  }

  TEST_CASE("a host that does not read stops the program, and gets everything later") {
    TestGuest guest;
    OperationClient client(guest);
    TemporaryRoot files;
    const std::string progress = files / "progress";
    send_exec(client,
              {.argv = {"sh", "-c",
                        "i=0; while [ $i -lt 200 ]; do head -c 10000 /dev/zero; i=$((i+1)); "
                        "echo $i >" +
                            progress + "; done"}});
    const auto done = [&] {
      const std::string text = std::filesystem::exists(progress) ? files.read("progress") : "";
      return text.empty() ? 0 : std::stoi(text);
    };
    REQUIRE(stands_still(done));
    CHECK(done() < 100);
    const auto outcome = read_exec(client);
    CHECK(outcome.out.size() == 2'000'000);
    REQUIRE(outcome.exited);
    CHECK(outcome.exited->code == 0);
  }

  TEST_CASE("signals reach the whole group") {
    TestGuest guest;
    OperationClient client(guest);
    send_exec(client, {.argv = {"sh", "-c", "sleep 100 & echo $!; wait"}});
    const std::string sleeper = read_some_output(client);
    microvm_agent_SignalRequest request{.signal = SIGTERM};
    client.send_message(FrameType::signal, microvm_agent_SignalRequest_fields, &request);
    const auto outcome = read_exec(client);
    REQUIRE(outcome.exited);
    CHECK(outcome.exited->signal == SIGTERM);
    CHECK(wait_until_gone(sleeper));
  }

  TEST_CASE("the timeout kills the whole group") {
    TestGuest guest;
    const auto outcome =
        exec(guest, {.argv = {"sh", "-c", "sleep 100 & echo $!; sleep 100"}, .timeout_ms = 100});
    REQUIRE(outcome.exited);
    CHECK(outcome.exited->timed_out);
    CHECK(outcome.exited->signal == SIGKILL);
    CHECK(wait_until_gone(outcome.out));
  }

  TEST_CASE("a host that leaves takes the program with it") {
    TestGuest guest;
    std::string pid;
    {
      OperationClient client(guest);
      send_exec(client, {.argv = {"sh", "-c", "trap '' TERM HUP; echo $$; sleep 100"}});
      pid = read_some_output(client);
    }
    CHECK(wait_until_gone(pid));
  }

  TEST_CASE("a host that leaves while its input waits takes the program with it") {
    TestGuest guest;
    OperationClient client(guest);
    send_exec(client, {.argv = {"sleep", "1000"}, .stdin_open = true});
    const auto frame = client.read();
    REQUIRE(frame);
    const auto started = decode<microvm_agent_Started>(*frame, microvm_agent_Started_fields);
    REQUIRE(started);
    client.fill_stdin();
    const auto before = std::chrono::steady_clock::now();
    shutdown(client.fd(), SHUT_RD);  // as a vsock whose host closes then
    CHECK(wait_until_gone(std::to_string(started->pid)));
    CHECK(std::chrono::steady_clock::now() - before < std::chrono::seconds(3));
  }

  TEST_CASE("the timeout counts while input waits") {
    TestGuest guest;
    OperationClient client(guest);
    send_exec(client, {.argv = {"sleep", "1000"}, .timeout_ms = 1500, .stdin_open = true});
    client.fill_stdin();
    const auto outcome = read_exec(client);
    REQUIRE(outcome.exited);
    CHECK(outcome.exited->timed_out);
  }

  TEST_CASE("a background process does not hold the end up") {
    TestGuest guest;
    const auto before = std::chrono::steady_clock::now();
    const auto outcome = shell(guest, "(sleep 5; echo late) & echo early; exit 3");
    CHECK(std::chrono::steady_clock::now() - before < std::chrono::seconds(3));
    CHECK(outcome.out == "early\n");
    REQUIRE(outcome.exited);
    CHECK(outcome.exited->code == 3);
  }

  TEST_CASE("nor does one that never stops writing") {
    TestGuest guest;
    const auto outcome = shell(guest, "setsid timeout 3 yes & sleep 0.1; exit 4");
    REQUIRE(outcome.exited);
    CHECK(outcome.exited->code == 4);
  }

  TEST_CASE("killed by a signal") {
    TestGuest guest;
    const auto outcome = shell(guest, "kill -SEGV $$");
    REQUIRE(outcome.exited);
    CHECK(outcome.exited->signal == SIGSEGV);
    CHECK(outcome.exited->code == 0);
  }

  TEST_CASE("many at once") {
    TestGuest guest;
    std::vector<std::thread> threads;
    std::atomic<int> right{0};
    for (int i = 0; i < 32; i++) {
      threads.emplace_back([&guest, &right, i] {
        const auto outcome =
            shell(guest, "echo " + std::to_string(i) + "; exit " + std::to_string(i));
        if (outcome.out == std::to_string(i) + "\n" && outcome.exited && outcome.exited->code == i)
          right++;
      });
    }
    for (auto& thread : threads) thread.join();
    CHECK(right == 32);
  }
}

TEST_SUITE("agent exec, hostile host") {
  TEST_CASE("frames that do not belong here end it") {
    TestGuest guest;
    OperationClient client(guest);
    send_exec(client, {.argv = {"sleep", "100"}, .stdin_open = true});
    client.send(FrameType::file_data, "x");
    const auto outcome = read_exec(client);
    REQUIRE(outcome.failure);
    CHECK(outcome.failure->error == EPROTO);
  }

  TEST_CASE("a signal that does not exist") {
    TestGuest guest;
    for (const uint32_t number : {0u, 65u, 4'000'000'000u}) {
      OperationClient client(guest);
      send_exec(client, {.argv = {"sleep", "100"}});
      microvm_agent_SignalRequest request{.signal = number};
      client.send_message(FrameType::signal, microvm_agent_SignalRequest_fields, &request);
      CHECK(read_exec(client).failure);
    }
  }

  TEST_CASE("requests that are no requests") {
    TestGuest guest;
    const std::string strings("a\0b\0", 4);
    const struct {
      std::string request, arguments, environment;
    } cases[] = {
        {"\xff\xff\xff", strings, ""},
        {"", "no end", ""},
        {"", "", ""},
        {"", std::string("\0", 1), ""},
        {"", strings, "no end"},
        {"\x0a\x88\x27" + std::string(5000, 'x'), strings, ""},
    };
    for (const auto& [request, arguments, environment] : cases) {
      OperationClient client(guest);
      client.send(FrameType::exec, request);
      client.send(FrameType::arguments, arguments).send(FrameType::environment, environment);
      CHECK(read_exec(client).failure);
    }
  }

  TEST_CASE("a frame larger than the wire allows") {
    TestGuest guest;
    OperationClient client(guest);
    client.send_raw(std::string("\xff\xff\xff\xff\x10", 5));
    const auto failure = failure_of(client.read());
    REQUIRE(failure);
    CHECK(failure->error == EMSGSIZE);
  }

  TEST_CASE("an operation nobody knows") {
    TestGuest guest;
    for (const int type : {0, 1, 2, 3, 15, 32, 41, 45, 46, 250, 255}) {
      OperationClient client(guest);
      client.send(static_cast<FrameType>(type), "body");
      CHECK(failure_of(client.read()));
    }
  }

  TEST_CASE("a connection that ends within a frame") {
    TestGuest guest;
    for (const std::string& part :
         {std::string(), std::string("\x08\0", 2), std::string("\x08\0\0\0\x10", 5)}) {
      OperationClient client(guest);
      client.send_raw(part);
      shutdown(client.fd(), SHUT_WR);
      client.read();
      CHECK_FALSE(client.read());
    }
  }
}

}  // namespace microvm::agent
