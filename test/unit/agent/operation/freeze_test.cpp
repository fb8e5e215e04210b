// A freeze lasts as long as the host holds its connection.
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <optional>
#include <thread>

#include "agent/operation/doorbell.hpp"
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

// A guest that has rung, and been told who it is.
class Rung {
 public:
  explicit Rung(Guest& guest) {
    std::array<int, 2> fds{};
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) == 0);
    host_.emplace(base::Fd(fds[0]));
    agent_ = std::thread([&guest, fd = fds[1]] { serve_doorbell(guest, Channel(base::Fd(fd))); });
    REQUIRE(host_->read_frame(FrameType::hello));
    send_identity(FrameType::identity);
    REQUIRE(host_->read_frame(FrameType::ready));
  }
  ~Rung() { close(); }
  Rung(const Rung&) = delete;
  Rung& operator=(const Rung&) = delete;

  void ask_to_freeze() {
    microvm_agent_FreezeRequest request = microvm_agent_FreezeRequest_init_zero;
    request.keep_dirty = true;
    host_->send_message(FrameType::freeze, microvm_agent_FreezeRequest_fields, &request);
  }
  void send_identity(FrameType type) {
    const microvm_agent_Identity identity = microvm_agent_Identity_init_zero;
    host_->send_message(type, microvm_agent_Identity_fields, &identity);
  }
  [[nodiscard]] bool answers(FrameType type) { return host_->read_frame(type).has_value(); }
  [[nodiscard]] int fd() const { return host_->fd(); }
  [[nodiscard]] Channel& host() { return *host_; }
  void close() {
    host_.reset();
    if (agent_.joinable()) agent_.join();
  }

 private:
  std::optional<Channel> host_;
  std::thread agent_;
};

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

  TEST_CASE("on the doorbell too: programs stand until the thaw, or until the host hangs up") {
    const auto cgroup = TestCgroup::make();
    if (!cgroup) SKIP_CASE("needs a cgroup v2 to make others in");
    CountingProgram program(*cgroup);
    TestGuest guest;
    REQUIRE(guest.freezer.adopt_cgroup(cgroup->open()));
    Rung bell(guest);
    bell.ask_to_freeze();
    REQUIRE(bell.answers(FrameType::ok));
    CHECK(program.stands());
    bell.send_identity(FrameType::thaw);
    REQUIRE(bell.answers(FrameType::ok));
    CHECK(program.runs());
    bell.ask_to_freeze();
    REQUIRE(bell.answers(FrameType::ok));
    CHECK(guest.freezer.frozen());
    bell.close();
    CHECK_FALSE(guest.freezer.frozen());
    CHECK(program.runs());
  }

  TEST_CASE("a doorbell that breaks, as in a clone, lets them be stopped") {
    TestGuest guest;
    Rung bell(guest);
    bell.ask_to_freeze();
    pollfd answered{.fd = bell.fd(), .events = POLLIN, .revents = 0};
    REQUIRE(poll(&answered, 1, 10'000) == 1);
    bell.close();  // with bytes unread: the other end sees a reset
    CHECK(guest.freezer.frozen());
  }

  TEST_CASE("a freeze on the doorbell that fails is answered, and the next one is served") {
    TestGuest guest;
    guest.end_machine = [](Guest&) {};
    Rung bell(guest);
    {
      OperationClient command(guest);
      send_exec(command, {.argv = {"true"}}, FrameType::start);
      command.read();
    }
    REQUIRE(eventually([&] { return !guest.command.how_it_ended().empty(); }));
    bell.ask_to_freeze();
    CHECK(bell.answers(FrameType::failed));
    CHECK_FALSE(guest.freezer.frozen());
    bell.host().send_bytes(std::as_bytes(std::span("\x01\0\0\0\x14\xff", 6)));  // no request
    CHECK(bell.answers(FrameType::failed));
    bell.send_identity(FrameType::thaw);
    CHECK(bell.answers(FrameType::ok));
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
