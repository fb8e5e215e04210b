#include "host/session/agent_client.hpp"

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "agent/operation/operation.hpp"
#include "host/session/agent_messages.hpp"
#include "unit/agent/operation_client.hpp"
#include "unit/host/session/local_link.hpp"
#include "unit/host/temp_dir.hpp"
#include "wire/agent_frame.hpp"

using namespace microvm;
using namespace microvm::host;
using microvm::test::LocalLink;
using microvm::test::TempDir;
using wire::FrameType;

namespace {

// Counted from each call: a fixed one would have passed before the later tests run.
Limits limits() {
  return Limits({}, std::chrono::seconds(20));
}

// The agent of lib/agent, working on this machine.
struct RealAgent {
  agent::TestGuest guest;
  std::shared_ptr<LocalLink> link = std::make_shared<LocalLink>(
      [this](base::Fd stream) { agent::serve_operation(guest, std::move(stream)); });
  AgentClient client{link};
};

AgentCommand shell(const std::string& script) {
  AgentCommand command;
  command.argv = {"sh", "-c", script};
  command.env = {"PATH=/usr/bin:/bin"};
  return command;
}

std::string collect(Exec& program, ExecOutput::Stream stream = ExecOutput::Stream::out) {
  std::string text;
  for (;;) {
    const auto output = program.read();
    REQUIRE(output);
    if (!*output) return text;
    if ((*output)->stream == stream) text += wire::as_text((*output)->data);
  }
}

void send_frame(const base::Fd& stream, FrameType type, const std::string& body) {
  const auto header = wire::FrameHeader{static_cast<uint32_t>(body.size()), type}.encode();
  std::string bytes(reinterpret_cast<const char*>(header.data()), header.size());
  bytes += body;
  CHECK(::send(stream.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
        static_cast<ssize_t>(bytes.size()));
}

// Reads the request of an exec.
void read_command(const base::Fd& stream) {
  FrameReader reader;
  for (int frame = 0; frame < 3; ++frame) CHECK(reader.read(stream.get(), limits(), "test"));
}

// Up to the end of the stream.
int count_frames(const base::Fd& stream, FrameType type) {
  FrameReader reader;
  int count = 0;
  for (;;) {
    const auto frame = reader.read(stream.get(), limits(), "test");
    if (!frame || !*frame) return count;
    if ((*frame)->type == type) ++count;
  }
}

// Waits until the host has hung up.
void drain(const base::Fd& stream) {
  char buffer[4096];
  while (::recv(stream.get(), buffer, sizeof buffer, 0) > 0) {
  }
}

Error exec_error(LocalLink::Peer peer) {
  AgentClient client(std::make_shared<LocalLink>(std::move(peer)));
  const auto program = client.exec(shell("true"), limits());
  REQUIRE_FALSE(program);
  return program.error();
}

}  // namespace

TEST_CASE("session: exec returns output and exit code") {
  RealAgent agent;
  auto program = agent.client.exec(shell("echo out; echo err >&2; exit 3"), limits());
  REQUIRE(program);
  CHECK(program->pid() > 0);
  CHECK(collect(*program) == "out\n");
  const auto status = program->wait();
  REQUIRE(status);
  CHECK(status->code == 3);
}

TEST_CASE("session: a program that cannot be started is an exit status, not an error") {
  RealAgent agent;
  AgentCommand command = shell("");
  command.argv = {"no-such-program"};
  auto program = agent.client.exec(command, limits());
  REQUIRE(program);
  CHECK(program->pid() == 0);
  const auto status = program->wait();
  REQUIRE(status);
  CHECK(status->code == 127);
  CHECK_FALSE(status->message.empty());
}

TEST_CASE("session: stdin, signals and time limits") {
  RealAgent agent;
  AgentCommand cat = shell("cat");
  cat.stdin_open = true;
  auto program = agent.client.exec(cat, limits());
  REQUIRE(program);
  REQUIRE(program->write_stdin(wire::as_bytes("hello")));
  REQUIRE(program->close_stdin());
  CHECK(collect(*program) == "hello");

  auto sleeper = agent.client.exec(shell("exec sleep 100"), limits());
  REQUIRE(sleeper);
  REQUIRE(sleeper->signal(SIGTERM));
  CHECK(sleeper->wait()->signal == SIGTERM);

  AgentCommand limited = shell("exec sleep 100");
  limited.timeout_ms = 50;
  auto late = agent.client.exec(limited, limits());
  REQUIRE(late);
  CHECK(late->wait()->timed_out);
}

TEST_CASE("session: a signal that does not exist is refused, and the program goes on") {
  RealAgent agent;
  AgentCommand cat = shell("cat");
  cat.stdin_open = true;
  auto program = agent.client.exec(cat, limits());
  REQUIRE(program);
  for (const int signal : {0, -1, SIGRTMAX + 1}) {
    const auto sent = program->signal(signal);
    REQUIRE_FALSE(sent);
    CHECK(sent.error().code == ErrorCode::invalid_argument);
    CHECK(sent.error().message == "no such signal: " + std::to_string(signal));
  }
  REQUIRE(program->write_stdin(wire::as_bytes("still here")));
  REQUIRE(program->close_stdin());
  CHECK(collect(*program) == "still here");
  CHECK(program->wait()->code == 0);
}

TEST_CASE("session: a call that is cut short can be repeated and loses nothing") {
  RealAgent agent;
  auto program = agent.client.exec(shell("sleep 0.3; echo late"), limits());
  REQUIRE(program);
  const auto early = program->read({.cancel = nullptr, .timeout = std::chrono::milliseconds(20)});
  REQUIRE_FALSE(early);
  CHECK(early.error().code == ErrorCode::deadline_exceeded);
  CancelToken token;
  token.cancel();
  const auto cancelled = program->read({.cancel = &token, .timeout = {}});
  REQUIRE_FALSE(cancelled);
  CHECK(cancelled.error().code == ErrorCode::cancelled);
  CHECK(collect(*program) == "late\n");
}

TEST_CASE("session: a writer that nobody reads from waits, and obeys its limits") {
  RealAgent agent;
  AgentCommand idle = shell("exec sleep 100");
  idle.stdin_open = true;
  auto program = agent.client.exec(idle, limits());
  REQUIRE(program);
  const std::vector<std::byte> much(8u << 20);
  const auto written =
      program->write_stdin(much, {.cancel = nullptr, .timeout = std::chrono::milliseconds(100)});
  REQUIRE_FALSE(written);
  CHECK(written.error().code == ErrorCode::deadline_exceeded);
}

TEST_CASE("session: the end of stdin waits for a program that does not read") {
  std::promise<void> reading;
  std::promise<int> ends_seen;
  AgentClient client(std::make_shared<LocalLink>([&](base::Fd stream) {
    read_command(stream);
    send_frame(stream, FrameType::started, "");
    reading.get_future().wait_for(std::chrono::seconds(20));
    ends_seen.set_value(count_frames(stream, FrameType::stdin_end));
  }));
  {
    auto program = client.exec(shell("true"), limits());
    REQUIRE(program);
    const CallLimits short_time{.cancel = nullptr, .timeout = std::chrono::milliseconds(50)};
    const std::vector<std::byte> much(8u << 20);
    CHECK(program->write_stdin(much, short_time).error().code == ErrorCode::deadline_exceeded);
    const auto closed = program->close_stdin(short_time);
    CHECK_FALSE(closed);
    if (!closed) CHECK(closed.error().code == ErrorCode::deadline_exceeded);
    reading.set_value();
    CHECK(program->close_stdin());
  }
  CHECK(ends_seen.get_future().get() == 1);
}

TEST_CASE("session: a write that fails takes nothing from the one who reads") {
  std::promise<void> deaf;
  AgentClient client(std::make_shared<LocalLink>([&](base::Fd stream) {
    read_command(stream);
    microvm_agent_Exited exited{};
    exited.code = 3;
    send_frame(stream, FrameType::started, "");
    send_frame(stream, FrameType::stdout_data, "out\n");
    send_frame(stream, FrameType::exited, std::string(wire::as_text(encode_message(exited))));
    ::shutdown(stream.get(), SHUT_RD);
    deaf.set_value();
  }));
  auto program = client.exec(shell("true"), limits());
  REQUIRE(program);
  deaf.get_future().wait();
  const auto written = program->write_stdin(wire::as_bytes("x"));
  REQUIRE_FALSE(written);
  CHECK(written.error().code == ErrorCode::vm_gone);
  CHECK(collect(*program) == "out\n");
  CHECK(program->wait()->code == 3);
}

TEST_CASE("session: bad commands are refused before anything is sent") {
  AgentClient client(std::make_shared<LocalLink>(drain));
  AgentCommand command = shell("");
  command.argv = {};
  CHECK(client.exec(command, limits()).error().code == ErrorCode::invalid_argument);
  command.argv = {std::string("a\0b", 3)};
  CHECK(client.exec(command, limits()).error().code == ErrorCode::invalid_argument);
  command.argv = {std::string(300'000, 'a')};
  CHECK(client.exec(command, limits()).error().code == ErrorCode::invalid_argument);
}

TEST_CASE("session: files arrive with content, mode and links") {
  RealAgent agent;
  const TempDir dir;
  const std::string root = dir.path().string();
  std::ofstream(dir.path() / "source") << std::string(100'000, 'z');
  FileToPut file;
  file.path = root + "/sub/copy";
  file.mode = 0750;
  file.uid = ::getuid();
  file.gid = ::getgid();
  file.source = dir.path() / "source";
  FileToPut link = file;
  link.type = FileToPut::Type::symlink;
  link.path = root + "/sub/link";
  link.link_target = "copy";
  FileToPut text = file;
  text.path = root + "/text";
  text.source.clear();
  text.inline_content = "inline";
  const auto put = agent.client.put_files({file, link, text}, limits());
  CHECK_MESSAGE(put, put.error().message);
  CHECK(std::filesystem::file_size(dir.path() / "sub/link") == 100'000);
  CHECK(std::filesystem::read_symlink(dir.path() / "sub/link") == "copy");
  CHECK(std::filesystem::file_size(dir.path() / "text") == 6);
}

TEST_CASE("session: a link put in the place of a source is not followed") {
  RealAgent agent;
  const TempDir dir;
  std::filesystem::create_symlink("/etc/passwd", dir.path() / "source");
  FileToPut file;
  file.path = (dir.path() / "copy").string();
  file.source = dir.path() / "source";
  CHECK_FALSE(agent.client.put_files({file}, limits()));
}

TEST_CASE("session: a port nobody listens on is refused") {
  RealAgent agent;
  const auto stream = agent.client.tcp_connect(1, limits());
  REQUIRE_FALSE(stream);
  CHECK(stream.error().code == ErrorCode::connection_refused);
}

TEST_CASE("session: an agent that never stops sending is cut off by time limit and token") {
  for (const std::string& output : {std::string(), std::string("y\n")}) {
    AgentClient client(std::make_shared<LocalLink>([&output](base::Fd stream) {
      read_command(stream);
      microvm_agent_Started started{};
      const auto body = encode_message(started);
      send_frame(stream, FrameType::started, std::string(wire::as_text(body)));
      const auto header =
          wire::FrameHeader{static_cast<uint32_t>(output.size()), FrameType::stdout_data}.encode();
      std::string flood;
      for (int i = 0; i < 1000; ++i) {
        flood.append(reinterpret_cast<const char*>(header.data()), header.size());
        flood += output;
      }
      while (::send(stream.get(), flood.data(), flood.size(), MSG_NOSIGNAL) > 0) {
      }
    }));
    auto program = client.exec(shell("yes"), limits());
    REQUIRE(program);
    const auto late = program->wait({.timeout = std::chrono::milliseconds(100)});
    REQUIRE_FALSE(late);
    CHECK(late.error().code == ErrorCode::deadline_exceeded);
    CancelToken token;
    std::thread canceller([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      token.cancel();
    });
    const auto cancelled = program->wait({.cancel = &token});
    canceller.join();
    REQUIRE_FALSE(cancelled);
    CHECK(cancelled.error().code == ErrorCode::cancelled);
  }
}

TEST_CASE("session: hostile agents get typed errors") {
  const Error ended = exec_error([](base::Fd) {});
  CHECK(ended.code == ErrorCode::vm_gone);
  const Error huge = exec_error([](base::Fd stream) {
    const auto header = wire::FrameHeader{0xffffffff, FrameType::started}.encode();
    ::send(stream.get(), header.data(), header.size(), MSG_NOSIGNAL);
    drain(stream);
  });
  CHECK(huge.code == ErrorCode::protocol);
  const Error out_of_turn = exec_error([](base::Fd stream) {
    send_frame(stream, FrameType::ok, "");
    drain(stream);
  });
  CHECK(out_of_turn.code == ErrorCode::protocol);
  const Error garbage = exec_error([](base::Fd stream) {
    send_frame(stream, FrameType::started, "\xff\xff\xff");
    drain(stream);
  });
  CHECK(garbage.code == ErrorCode::protocol);
  const Error cut = exec_error([](base::Fd stream) {
    const auto header = wire::FrameHeader{100, FrameType::started}.encode();
    ::send(stream.get(), header.data(), header.size(), MSG_NOSIGNAL);
    ::shutdown(stream.get(), SHUT_WR);
    drain(stream);
  });
  CHECK(cut.code == ErrorCode::vm_gone);
}
