#include "host/session/started_command.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "agent/operation/operation.hpp"
#include "host/session/agent_messages.hpp"
#include "unit/agent/operation_client.hpp"
#include "unit/host/session/local_link.hpp"

using namespace microvm;
using namespace microvm::host;
using microvm::test::LocalLink;
using wire::FrameType;

namespace {

using std::chrono::milliseconds;

Limits limits() {
  return Limits({}, std::chrono::seconds(20));
}

AgentCommand shell(const std::string& script) {
  AgentCommand command;
  command.argv = {"sh", "-c", script};
  command.env = {"PATH=/usr/bin:/bin"};
  return command;
}

// The agent of lib/agent on this machine; its guest "ends" with its command.
struct CommandAgent {
  CommandAgent() {
    guest.end_machine = [](agent::Guest&) {};
  }
  ~CommandAgent() {
    guest.command.signal(SIGKILL);
    link->wait_for_peers();
  }
  agent::TestGuest guest;
  std::shared_ptr<LocalLink> link = std::make_shared<LocalLink>(
      [this](base::Fd stream) { agent::serve_operation(guest, std::move(stream)); });
};

// One that runs for ever and uses this much CPU time between two looks, for so many looks.
struct BusyAgent {
  explicit BusyAgent(int busy_looks) : left(busy_looks) {}

  void serve(base::Fd stream) {
    agent::Channel channel(std::move(stream));
    const auto header = channel.read_header();
    if (!header) return;
    if (header->type == FrameType::start) {
      channel.send_empty(FrameType::ok);
      channel.wait_closed();
      return;
    }
    ++looks;
    cpu_us += left-- > 0 ? 50'000 : 100;
    microvm_agent_Activity activity = microvm_agent_Activity_init_zero;
    activity.cpu_us = cpu_us;
    channel.send_message(FrameType::activity_report, microvm_agent_Activity_fields, &activity);
  }

  std::atomic<int> left;
  std::atomic<int> looks{0};
  std::atomic<uint64_t> cpu_us{0};
  std::shared_ptr<LocalLink> link =
      std::make_shared<LocalLink>([this](base::Fd stream) { serve(std::move(stream)); });
};

}  // namespace

TEST_CASE("started command: how it ended is told before the guest is gone") {
  const struct {
    const char* script;
    int code;
    int signal;
  } rows[] = {{"exit 0", 0, 0}, {"sleep 0.2; exit 7", 7, 0}, {"kill -9 $$", 0, 9}};
  for (const auto& row : rows) {
    CAPTURE(row.script);
    CommandAgent agent;
    AgentClient client(agent.link);
    auto command = StartedCommand::start(agent.link, shell(row.script), limits());
    REQUIRE(command);
    const auto ended = command->settle(client, limits());
    REQUIRE(ended);
    REQUIRE(*ended);
    CHECK((*ended)->code == row.code);
    CHECK((*ended)->signal == row.signal);
    const auto again = command->wait_ended(milliseconds(1), limits());
    REQUIRE(again);
    CHECK((*again)->code == row.code);
  }
}

TEST_CASE("started command: one that cannot be started is an error") {
  CommandAgent agent;
  AgentCommand command;
  command.argv = {"no-such-program"};
  const auto started = StartedCommand::start(agent.link, command, limits());
  REQUIRE_FALSE(started);
  CHECK(started.error().message.find("not found in PATH") != std::string::npos);
}

TEST_CASE("started command: settled is one that has nothing to do, however long that takes") {
  for (const int busy : {0, 25}) {
    BusyAgent agent(busy);
    AgentClient client(agent.link);
    auto command = StartedCommand::start(agent.link, shell("x"), limits());
    REQUIRE(command);
    const auto ended = command->settle(client, limits());
    REQUIRE(ended);
    CHECK_FALSE(*ended);
    CHECK(agent.looks == std::max(10, busy + 10));
  }
}

TEST_CASE("started command: a caller's limits end the wait") {
  BusyAgent agent(1000);
  AgentClient client(agent.link);
  auto command = StartedCommand::start(agent.link, shell("x"), limits());
  REQUIRE(command);
  const auto ended = command->settle(client, Limits({}, milliseconds(300)));
  REQUIRE_FALSE(ended);
  CHECK(ended.error().code == ErrorCode::deadline_exceeded);
}
