// A freeze lasts as long as the host holds its connection.
#include <doctest/doctest.h>
#include <poll.h>

#include <chrono>
#include <thread>

#include "unit/agent/operation_client.hpp"

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
  for (int i = 0; i < 1000 && guest.freezer.frozen(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return !guest.freezer.frozen();
}

}  // namespace

TEST_SUITE("agent freeze") {
  TEST_CASE("programs are stopped until the host closes the connection") {
    TestGuest guest;
    OperationClient client(guest);
    REQUIRE(freeze(client));
    CHECK(guest.freezer.frozen());
    client.close();
    CHECK(thaws(guest));
  }

  TEST_CASE("a connection that breaks, as in a clone, lets them be stopped") {
    TestGuest guest;
    {
      OperationClient client(guest);
      ask_to_freeze(client);
      pollfd answered{.fd = client.fd(), .events = POLLIN, .revents = 0};
      REQUIRE(poll(&answered, 1, 10'000) == 1);
      client.close();  // with bytes unread: the other end sees a reset
    }
    CHECK(guest.freezer.frozen());
  }

  TEST_CASE("the end of an earlier freeze does not end a later one") {
    TestGuest guest;
    OperationClient later(guest);
    {
      OperationClient earlier(guest);
      REQUIRE(freeze(earlier));
      guest.freezer.thaw();
      REQUIRE(freeze(later));
    }
    CHECK(guest.freezer.frozen());
    later.close();
    CHECK(thaws(guest));
  }
}

}  // namespace microvm::agent
