// Terminals through the library's handle, with the real agent on this machine and with bad ones.
#include "microvm/pty.hpp"

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>

#include <csignal>
#include <thread>

#include "agent/operation/operation.hpp"
#include "host/session/agent_client.hpp"
#include "host/session/agent_messages.hpp"
#include "unit/agent/operation_client.hpp"
#include "unit/host/session/local_link.hpp"

using namespace microvm;
using namespace microvm::host;
using microvm::test::LocalLink;
using wire::FrameType;

namespace {

Limits limits() {
  return Limits({}, std::chrono::seconds(20));
}

constexpr CallLimits kSoon{.cancel = nullptr, .timeout = std::chrono::seconds(10)};

struct RealAgent {
  agent::TestGuest guest;
  std::shared_ptr<LocalLink> link = std::make_shared<LocalLink>(
      [this](base::Fd stream) { agent::serve_operation(guest, std::move(stream)); });
  AgentClient client{link};
};

PtyCommand shell(const std::string& script, const std::string& id = "t") {
  PtyCommand command;
  command.program.argv = {"sh", "-c", script};
  command.program.env = {"PATH=/usr/bin:/bin"};
  command.id = id;
  return command;
}

std::string read_until(Pty& pty, std::string_view text) {
  std::string out;
  while (out.find(text) == std::string::npos) {
    const auto output = pty.read(kSoon);
    REQUIRE(output);
    if (!*output) break;
    out += wire::as_text((*output)->data);
  }
  return out;
}

// An agent that answers an open with these frames and then says nothing more.
Result<Pty> open_at(std::vector<std::pair<FrameType, wire::Bytes>> frames,
                    std::shared_ptr<LocalLink>& link) {
  link = std::make_shared<LocalLink>([frames = std::move(frames)](base::Fd stream) {
    FrameWriter writer;
    for (const auto& [type, body] : frames) {
      if (!writer.write(stream.get(), type, body, limits(), "test")) return;
    }
    ::shutdown(stream.get(), SHUT_WR);
    char buffer[4096];
    while (::recv(stream.get(), buffer, sizeof buffer, 0) > 0) {
    }
  });
  return AgentClient(link).open_pty(shell("true"), nullptr, limits());
}

wire::Bytes opened_message() {
  microvm_agent_PtyOpened opened{};
  opened.id[0] = 'x';
  opened.pid = 5;
  opened.writer = true;
  return encode_message(opened);
}

}  // namespace

TEST_CASE("session: a terminal's output, keys, size, signals and exit code") {
  RealAgent agent;
  auto command = shell(
      "stty size; trap 'stty size' WINCH; trap 'exit 4' TERM; echo ready; "
      "read line; echo \"[$line]\"; while :; do sleep 0.05; done");
  command.size = {.rows = 10, .columns = 20};
  auto pty = agent.client.open_pty(command, nullptr, limits());
  REQUIRE(pty);
  CHECK(pty->id() == "t");
  CHECK(pty->pid() > 0);
  CHECK(pty->writer());
  CHECK(read_until(*pty, "ready").find("10 20\r\n") == 0);
  REQUIRE(pty->write(wire::as_bytes("key\r")));
  CHECK(read_until(*pty, "[key]").find("[key]") != std::string::npos);
  REQUIRE(pty->resize({.rows = 30, .columns = 40}));
  CHECK(read_until(*pty, "30 40").find("30 40") != std::string::npos);
  for (const int signal : {0, -1, SIGRTMAX + 1}) {
    CHECK(pty->signal(signal).error().code == ErrorCode::invalid_argument);
  }
  REQUIRE(pty->signal(SIGTERM));
  const auto status = pty->wait(kSoon);
  REQUIRE(status);
  CHECK(status->code == 4);
  CHECK(pty->wait(kSoon)->code == 4);
}

TEST_CASE("session: a detached terminal is listed, goes on from where it was read, and is closed") {
  RealAgent agent;
  auto first =
      agent.client.open_pty(shell("echo one; read line; echo two; sleep 100"), nullptr, limits());
  REQUIRE(first);
  read_until(*first, "one\r\n");
  const uint64_t position = first->position();
  CHECK(position == 5);
  first->detach();
  CHECK_FALSE(first->read(kSoon));
  const auto infos = agent.client.list_ptys(limits());
  REQUIRE(infos);
  REQUIRE(infos->size() == 1);
  CHECK((*infos)[0].id == "t");
  CHECK((*infos)[0].command == "sh -c echo one; read line; echo two; sleep 100");
  CHECK((*infos)[0].pid == first->pid());
  CHECK_FALSE((*infos)[0].ended);

  PtyAttachOptions options;
  options.take_over = true;
  options.position = position;
  auto second = agent.client.attach_pty("t", options, nullptr, limits());
  REQUIRE(second);
  REQUIRE(second->write(wire::as_bytes("\r")));
  CHECK(read_until(*second, "two\r\n") == "\r\ntwo\r\n");
  REQUIRE(agent.client.close_pty("t", limits()));
  CHECK(second->wait(kSoon)->signal == SIGHUP);
  CHECK(agent.client.list_ptys(limits())->empty());
  CHECK(agent.client.close_pty("t", limits()).error().code == ErrorCode::not_found);
  CHECK(agent.client.attach_pty("t", {}, nullptr, limits()).error().code == ErrorCode::not_found);
}

TEST_CASE("session: who has the end of a terminal can give its name to another at once") {
  RealAgent agent;
  for (int i = 0; i < 50; i++) {
    auto pty = agent.client.open_pty(shell("exit 3"), nullptr, limits());
    REQUIRE_MESSAGE(pty, pty.error().message);
    CHECK(pty->wait(kSoon)->code == 3);
    CHECK(agent.client.list_ptys(limits())->empty());
  }
}

TEST_CASE("session: a second writer is refused, and takes over when it says so") {
  RealAgent agent;
  auto first = agent.client.open_pty(shell("echo ready; read line; exit 2"), nullptr, limits());
  REQUIRE(first);
  CHECK(agent.client.attach_pty("t", {}, nullptr, limits()).error().code == ErrorCode::busy);
  PtyAttachOptions take_over;
  take_over.take_over = true;
  auto second = agent.client.attach_pty("t", take_over, nullptr, limits());
  REQUIRE(second);
  CHECK(second->writer());
  for (int i = 0; i < 20 && first->writer(); ++i) {
    [[maybe_unused]] const auto output =
        first->read({.cancel = nullptr, .timeout = std::chrono::milliseconds(500)});
  }
  CHECK_FALSE(first->writer());
  CHECK(first->write(wire::as_bytes("x")).error().code == ErrorCode::busy);
  CHECK(first->resize({}).error().code == ErrorCode::busy);
  CHECK(first->signal(SIGINT).error().code == ErrorCode::busy);
  REQUIRE(second->write(wire::as_bytes("\r")));
  CHECK(second->wait(kSoon)->code == 2);
  CHECK(first->wait(kSoon)->code == 2);
}

TEST_CASE("session: a terminal's program that cannot be started is an exit status") {
  RealAgent agent;
  auto command = shell("");
  command.program.argv = {"no-such-program"};
  auto pty = agent.client.open_pty(command, nullptr, limits());
  REQUIRE(pty);
  CHECK(pty->pid() == 0);
  CHECK(pty->wait(kSoon)->code == 127);
}

TEST_CASE("session: what a terminal cannot be is refused") {
  RealAgent agent;
  CHECK(agent.client.open_pty(shell("true", "a b"), nullptr, limits()).error().code ==
        ErrorCode::invalid_argument);
  CHECK(
      agent.client.open_pty(shell("true", std::string(64, 'a')), nullptr, limits()).error().code ==
      ErrorCode::invalid_argument);
  auto flat = shell("true");
  flat.size.rows = 0;
  CHECK(agent.client.open_pty(flat, nullptr, limits()).error().code == ErrorCode::invalid_argument);
  auto kept = agent.client.open_pty(shell("read line"), nullptr, limits());
  REQUIRE(kept);
  CHECK(agent.client.open_pty(shell("true"), nullptr, limits()).error().code ==
        ErrorCode::already_exists);
}

TEST_CASE("session: a handle that does not read learns what it lost") {
  RealAgent agent;
  auto pty = agent.client.open_pty(shell("stty raw; head -c 3000000 /dev/zero; sleep 0.1; exit 3"),
                                   nullptr, limits());
  REQUIRE(pty);
  for (int i = 0; i < 200 && !(*agent.client.list_ptys(limits()))[0].ended; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  uint64_t got = 0;
  uint64_t lost = 0;
  for (;;) {
    const auto output = pty->read(kSoon);
    REQUIRE(output);
    if (!*output) break;
    got += (*output)->data.size();
    lost += (*output)->lost_bytes;
  }
  CHECK(lost > 0);
  CHECK(got + lost == 3'000'000);
  CHECK(pty->position() == 3'000'000);
  CHECK(pty->wait(kSoon)->code == 3);
}

TEST_CASE("session: an agent that talks nonsense about a terminal is a typed error") {
  std::shared_ptr<LocalLink> link;
  const wire::Bytes garbage(9, std::byte{0xff});
  CHECK(open_at({{FrameType::ok, {}}}, link).error().code == ErrorCode::protocol);
  CHECK(open_at({{FrameType::pty_opened, garbage}}, link).error().code == ErrorCode::protocol);
  CHECK(open_at({}, link).error().code == ErrorCode::vm_gone);
  const FrameType later[] = {FrameType::pty_opened, FrameType::ok, FrameType::stderr_data};
  for (const FrameType type : later) {
    auto pty = open_at({{FrameType::pty_opened, opened_message()}, {type, {}}}, link);
    REQUIRE(pty);
    CHECK(pty->read(kSoon).error().code == ErrorCode::protocol);
  }
  for (const FrameType type : {FrameType::pty_lost, FrameType::pty_role, FrameType::exited}) {
    auto pty = open_at({{FrameType::pty_opened, opened_message()}, {type, garbage}}, link);
    REQUIRE(pty);
    CHECK(pty->read(kSoon).error().code == ErrorCode::protocol);
  }
  auto cut = open_at({{FrameType::pty_opened, opened_message()}}, link);
  REQUIRE(cut);
  CHECK(cut->read(kSoon).error().code == ErrorCode::vm_gone);
}

TEST_CASE("session: an agent that lists terminals without end is stopped") {
  auto link = std::make_shared<LocalLink>([](base::Fd stream) {
    FrameWriter writer;
    const wire::Bytes info = encode_message(microvm_agent_PtyInfo{});
    while (writer.write(stream.get(), FrameType::pty_info, info, limits(), "test")) {
    }
  });
  const auto infos = AgentClient(link).list_ptys(limits());
  REQUIRE_FALSE(infos);
  CHECK(infos.error().code == ErrorCode::protocol);
}
