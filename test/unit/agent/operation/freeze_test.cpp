// A freeze lasts as long as the host holds its connection.
#include <doctest/doctest.h>
#include <poll.h>

#include <chrono>
#include <thread>

#include "suite/skip.hpp"
#include "unit/agent/operation_client.hpp"
#include "unit/agent/test_cgroup.hpp"
#include "unit/agent/waiting.hpp"

namespace microvm::agent {
namespace {

void ask_to_freeze(OperationClient& client) {
  microvm_agent_FreezeRequest request = microvm_agent_FreezeRequest_init_zero;
  request.keep_dirty = true;
  client.send_message(FrameType::freeze, microvm_agent_FreezeRequest_fields, &request);
}

bool freeze(OperationClient& client) {
  ask_to_freeze(client);
  const auto answer = client.read();
  return answer && answer->type == FrameType::ok;
}

bool thaws(Guest& guest) {
  return eventually([&] { return !guest.freezer.frozen(); });
}

}  // namespace

TEST_SUITE("agent freeze") {
  TEST_CASE("programs stand from the answer on until the host closes the connection") {
    const auto cgroup = TestCgroup::make();
    if (!cgroup) SKIP_CASE("needs a cgroup v2 to make others in");
    CountingProgram program(*cgroup);
    TestGuest guest;
    REQUIRE(guest.freezer.adopt_cgroup(cgroup->open()));
    CHECK(program.runs());
    OperationClient client(guest);
    REQUIRE(freeze(client));
    CHECK(program.stands());
    CHECK(guest.freezer.frozen());
    client.close();
    CHECK(program.runs());
    CHECK(thaws(guest));
  }

  TEST_CASE("a freeze that fails lets programs run") {
    const auto cgroup = TestCgroup::make();
    if (!cgroup) SKIP_CASE("needs a cgroup v2 to make others in");
    CountingProgram program(*cgroup);
    TestGuest guest;
    REQUIRE(guest.freezer.adopt_cgroup(cgroup->open()));
    {
      // Programs stand, and then it turns out that the command has ended.
      guest.end_machine = [](Guest&) {};
      OperationClient command(guest);
      send_exec(command, {.argv = {"true"}}, FrameType::start);
      command.read();
    }
    OperationClient client(guest);
    ask_to_freeze(client);
    CHECK(failure_of(client.read()));
    CHECK_FALSE(guest.freezer.frozen());
    CHECK(program.runs());
  }

  TEST_CASE("a connection that breaks, as in a clone, lets them be stopped") {
    const auto cgroup = TestCgroup::make();
    if (!cgroup) SKIP_CASE("needs a cgroup v2 to make others in");
    CountingProgram program(*cgroup);
    TestGuest guest;
    REQUIRE(guest.freezer.adopt_cgroup(cgroup->open()));
    {
      OperationClient client(guest);
      ask_to_freeze(client);
      pollfd answered{.fd = client.fd(), .events = POLLIN, .revents = 0};
      REQUIRE(poll(&answered, 1, 10'000) == 1);
      client.close();  // with bytes unread: the other end sees a reset
    }
    CHECK(guest.freezer.frozen());
    CHECK(program.stands());
    guest.freezer.thaw();
    CHECK(program.runs());
  }

  TEST_CASE("the end of an earlier freeze does not end a later one") {
    const auto cgroup = TestCgroup::make();
    if (!cgroup) SKIP_CASE("needs a cgroup v2 to make others in");
    CountingProgram program(*cgroup);
    TestGuest guest;
    REQUIRE(guest.freezer.adopt_cgroup(cgroup->open()));
    OperationClient later(guest);
    {
      OperationClient earlier(guest);
      REQUIRE(freeze(earlier));
      guest.freezer.thaw();
      REQUIRE(freeze(later));
    }
    CHECK(program.stands());
    CHECK(guest.freezer.frozen());
    later.close();
    CHECK(program.runs());
    CHECK(thaws(guest));
  }
}

}  // namespace microvm::agent
