#include "agent/program/command.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>

#include "unit/agent/operation_client.hpp"
#include "unit/agent/waiting.hpp"

namespace microvm::agent {
namespace {

std::atomic<int> machines_ended{0};
std::atomic<int> log_reader{-1};
std::atomic<bool> host_away{false};
std::atomic<int> connects_tried{0};

base::Fd connect_log() {
  connects_tried++;
  if (host_away) return base::Fd();
  std::array<int, 2> fds{};
  socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data());
  log_reader = fds[0];
  return base::Fd(fds[1]);
}

// A guest with its log running and an end that can be seen.
struct CommandGuest : TestGuest {
  CommandGuest() {
    machines_ended = 0;
    log_reader = -1;
    host_away = false;
    connects_tried = 0;
    end_machine = [](Guest&) { machines_ended++; };
    log_thread = std::thread([this] { app_log.run(connect_log); });
  }
  ~CommandGuest() {
    app_log.finish(1000);
    log_thread.join();
    if (log_reader >= 0) close(log_reader);
  }
  std::thread log_thread;
};

std::string read_log_to_end() {
  std::string all;
  std::array<char, 4096> chunk{};
  for (ssize_t count = 1; count > 0;) {
    count = read(log_reader, chunk.data(), chunk.size());
    if (count > 0) all.append(chunk.data(), static_cast<size_t>(count));
  }
  return all;
}

// The answer to a start: "ok" or the failure's message.
std::string start(OperationClient& client, const ExecOptions& options) {
  send_exec(client, options, FrameType::start);
  const auto frame = client.read();
  if (frame && frame->type == FrameType::ok) return "ok";
  const auto failure = failure_of(frame);
  return failure ? failure->message : "no answer";
}

}  // namespace

TEST_SUITE("agent command") {
  TEST_CASE("its output is logged, and the machine ends with it") {
    CommandGuest guest;
    {
      OperationClient client(guest);
      CHECK(start(client, {.argv = {"sh", "-c", "echo one; echo two >&2; sleep 0.1; exit 3"}}) ==
            "ok");
      CHECK(guest.command.running());
    }  // the operation ends with the command
    CHECK(machines_ended == 1);
    CHECK_FALSE(guest.command.running());
    CHECK(guest.command.how_it_ended() == "the command exited with code 3");
    CHECK(read_log_to_end() == "one\ntwo\nthe command exited with code 3\n");
  }

  TEST_CASE("killed") {
    CommandGuest guest;
    {
      OperationClient client(guest);
      CHECK(start(client, {.argv = {"sleep", "100"}}) == "ok");
      guest.command.signal(SIGTERM);
    }
    CHECK(guest.command.how_it_ended() == "the command was killed by signal 15 (SIGTERM)");
  }

  TEST_CASE("what cannot be started may be tried again, but there is one command") {
    CommandGuest guest;
    {
      OperationClient first(guest);
      CHECK(start(first, {.argv = {"no-such"}}) == "exec: \"no-such\": not found in PATH");
    }
    CHECK(machines_ended == 0);
    OperationClient second(guest);
    CHECK(start(second, {.argv = {"sleep", "100"}}) == "ok");
    {
      OperationClient third(guest);
      CHECK(start(third, {.argv = {"true"}}) == "the image's command was started before");
    }
    guest.command.signal(SIGKILL);
  }

  TEST_CASE("a host that leaves after the start does not end it") {
    CommandGuest guest;
    OperationClient client(guest);
    CHECK(start(client, {.argv = {"sh", "-c", "sleep 0.2; exit 5"}}) == "ok");
    client.close();
    CHECK(guest.command.wait_ended(5000));
    CHECK(guest.command.how_it_ended() == "the command exited with code 5");
  }

  TEST_CASE("who waits for its port hears of its end first") {
    CommandGuest guest;
    OperationClient client(guest);
    CHECK(start(client, {.argv = {"sh", "-c", "sleep 0.2; exit 1"}}) == "ok");
    OperationClient waiter(guest);
    const microvm_agent_WaitPortRequest request{.port = 1, .timeout_ms = 10'000};
    waiter.send_message(FrameType::wait_port, microvm_agent_WaitPortRequest_fields, &request);
    const auto failure = failure_of(waiter.read());
    REQUIRE(failure);
    CHECK(std::string(failure->message) ==
          "port 1: the command exited with code 1 before anything listened");
  }
}

TEST_SUITE("agent app log") {
  TEST_CASE("without a host the oldest is lost, and counted") {
    CommandGuest guest;
    host_away = true;
    guest.app_log.write("x");
    REQUIRE(eventually([] { return connects_tried > 0; }));
    const std::string block(AppLog::kCapacityBytes / 4, 'y');
    for (int i = 0; i < 8; i++) guest.app_log.write(block);
    guest.app_log.write("end\n");
    host_away = false;
    guest.app_log.finish(5000);
    const std::string log = read_log_to_end();
    CHECK(log.substr(0, 1) == "[");
    CHECK(log.find(" bytes of output were lost here]\n") < 10);
    CHECK(log.substr(log.size() - 5) == "yend\n");
    CHECK(log.size() < AppLog::kCapacityBytes + 100);
  }

  TEST_CASE("a slow host slows the writer and loses nothing") {
    CommandGuest guest;
    std::string sent;
    for (uint32_t i = 0; sent.size() < 4 * 1024 * 1024; i++) sent += std::to_string(i) + "\n";
    std::thread writer([&] {
      guest.app_log.write(sent);
      guest.app_log.finish(5000);
    });
    REQUIRE(eventually([] { return log_reader >= 0; }));
    REQUIRE(stands_still([] { return unread_bytes(log_reader); }));
    const std::string received = read_log_to_end();
    writer.join();
    CHECK(received.size() == sent.size());
    CHECK(received == sent);
  }

  TEST_CASE("a broken stream is replaced") {
    CommandGuest guest;
    guest.app_log.write("one\n");
    REQUIRE(eventually([] { return log_reader >= 0; }));
    const int first = log_reader;
    pollfd wait{.fd = first, .events = POLLIN, .revents = 0};
    poll(&wait, 1, 5000);
    close(first);
    guest.app_log.write("two\n");
    guest.app_log.finish(5000);
    CHECK(log_reader >= 0);
    CHECK(read_log_to_end() == "two\n");
  }
}

}  // namespace microvm::agent
