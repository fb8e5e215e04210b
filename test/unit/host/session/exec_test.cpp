// Programs of exec through the library's handle, with the real agent on this machine, over streams
// that are cut, and with agents of an older version.
#include "microvm/exec.hpp"

#include <doctest/doctest.h>
#include <poll.h>

#include <csignal>
#include <thread>

#include "host/session/agent_messages.hpp"
#include "host/session/stdin_log.hpp"
#include "unit/agent/waiting.hpp"
#include "unit/host/session/cut_link.hpp"
#include "unit/host/session/local_link.hpp"

using namespace microvm;
using namespace microvm::host;
using microvm::agent::eventually;
using microvm::test::CutHome;
using microvm::test::LocalLink;
using wire::FrameType;

namespace {

Limits within() {
  return Limits({}, std::chrono::seconds(20));
}

constexpr CallLimits kExecPatience{.cancel = nullptr, .timeout = std::chrono::seconds(20)};

struct CutAgent {
  agent::TestGuest guest;
  std::shared_ptr<CutHome> home = std::make_shared<CutHome>(guest);

  Result<Exec> start(const ExecCommand& command) {
    return home->client().exec(command, home, within());
  }
  Result<Exec> attach(const std::string& id, const ExecAttachOptions& options = {}) {
    return home->client().attach_exec(id, options, home, within());
  }
  std::vector<ExecInfo> list() { return *home->client().list_execs(within()); }
};

ExecCommand script(const std::string& text, bool reattach = false) {
  ExecCommand command;
  command.program.argv = {"sh", "-c", text};
  command.program.env = {"PATH=/usr/bin:/bin"};
  command.id = "p";
  command.reattach = reattach;
  return command;
}

std::string take_text(Exec& exec, size_t bytes) {
  std::string text;
  while (text.size() < bytes) {
    const auto output = exec.read(kExecPatience);
    REQUIRE_MESSAGE(output, output.error().message);
    if (!*output) break;
    REQUIRE((*output)->lost_bytes == 0);
    text += wire::as_text((*output)->data);
  }
  return text;
}

std::string count_to(uint32_t last) {
  std::string text;
  for (uint32_t i = 0; i <= last; i++) text += std::to_string(i) + "\n";
  return text;
}

bool runs(uint32_t pid) {
  return ::kill(static_cast<pid_t>(pid), 0) == 0;
}

// As agents before execs could be come back to: no fields but the pid.
std::shared_ptr<LocalLink> older_agent() {
  return std::make_shared<LocalLink>([](base::Fd stream) {
    FrameReader reader;
    FrameWriter writer;
    const auto first = reader.read(stream.get(), within(), "test");
    if (!first || !*first) return;
    if ((*first)->type != FrameType::exec) {
      microvm_agent_Failure failure{};
      failure.error = EPROTO;
      const std::string text = "no operation starts with a frame of type " +
                               std::to_string(static_cast<int>((*first)->type));
      text.copy(failure.message, sizeof failure.message - 1);
      [[maybe_unused]] const auto sent =
          writer.write(stream.get(), FrameType::failed, encode_message(failure), within(), "test");
      return;
    }
    for (int i = 0; i < 2; i++) {
      [[maybe_unused]] const auto list = reader.read(stream.get(), within(), "test");
    }
    microvm_agent_Started started{};
    started.pid = 7;
    [[maybe_unused]] const auto sent =
        writer.write(stream.get(), FrameType::started, encode_message(started), within(), "test");
    // Until the host closes: a frame that it does not know would be an error.
    const auto next = reader.read(stream.get(), within(), "test");
    CHECK((next && !*next));
  });
}

}  // namespace

TEST_CASE("session: a program is detached from, listed, attached to again, and its end is kept") {
  CutAgent agent;
  auto first = agent.start(script("echo one; sleep 0.2; echo two; exit 6"));
  REQUIRE(first);
  CHECK(first->id() == "p");
  CHECK(first->writer());
  CHECK(take_text(*first, 4) == "one\n");
  CHECK(first->position() == 4);
  REQUIRE(first->detach());
  CHECK(first->read(kExecPatience).error().code == ErrorCode::busy);
  CHECK(first->write_stdin(wire::as_bytes("x")).error().code == ErrorCode::busy);
  REQUIRE(agent.list().size() == 1);
  CHECK(agent.list()[0].id == "p");
  REQUIRE(eventually([&] { return agent.list()[0].ended.has_value(); }));
  CHECK(agent.list()[0].ended->code == 6);
  auto second = agent.attach("p", {.position = 4});
  REQUIRE(second);
  CHECK(take_text(*second, 100) == "two\n");
  CHECK(second->wait(kExecPatience)->code == 6);
  CHECK(eventually([&] { return agent.list().empty(); }));
  CHECK(agent.attach("p").error().code == ErrorCode::not_found);
}

TEST_CASE("session: who has the end of a program can give its name to another at once") {
  CutAgent agent;
  for (int i = 0; i < 50; i++) {
    auto exec = agent.start(script("exit 3"));
    REQUIRE_MESSAGE(exec, exec.error().message);
    CHECK(exec->wait(kExecPatience)->code == 3);
    CHECK(agent.attach("p").error().code == ErrorCode::not_found);
    CHECK(agent.list().empty());
  }
}

TEST_CASE("session: a dropped handle ends its program, one that only attached does not") {
  CutAgent agent;
  uint32_t pid = 0;
  {
    auto first = agent.start(script("exec sleep 100"));
    REQUIRE(first);
    pid = first->pid();
    {
      const auto reader = agent.attach("p", {.write = false});
    }
    CHECK(runs(pid));
  }
  CHECK(eventually([&] { return !runs(pid); }));
  CHECK(eventually([&] { return agent.list().empty(); }));
  auto command = script("exec sleep 100");
  command.detached = true;
  {
    pid = agent.start(command)->pid();
  }
  REQUIRE(eventually([&] { return agent.list()[0].clients == 0; }));
  CHECK(runs(pid));
  REQUIRE(agent.home->client().signal_exec("p", SIGTERM, within()));
  const auto status = agent.home->client().wait_exec("p", agent.home, within(), within());
  REQUIRE(status);
  CHECK(status->signal == SIGTERM);
  CHECK(eventually([&] { return agent.list().empty(); }));
}

TEST_CASE("session: a dropped handle ends its program also while that does not read its stdin") {
  CutAgent agent;
  uint32_t pid = 0;
  {
    auto command = script("exec sleep 100");
    command.program.stdin_open = true;
    auto program = agent.start(command);
    REQUIRE(program);
    pid = program->pid();
    const std::vector<std::byte> much(4u << 20);
    CHECK_FALSE(
        program->write_stdin(much, {.cancel = nullptr, .timeout = std::chrono::milliseconds(300)}));
  }
  CHECK(eventually([&] { return !runs(pid); }));
}

TEST_CASE("session: a dropped handle ends its program also while that prints without end") {
  CutAgent agent;
  for (int i = 0; i < 20; i++) {
    uint32_t pid = 0;
    {
      auto program = agent.start(script("exec yes"));
      REQUIRE(program);
      pid = program->pid();
      take_text(*program, 100'000);
    }
    CHECK(eventually([&] { return !runs(pid); }));
    REQUIRE(eventually([&] { return agent.list().empty(); }));
  }
}

TEST_CASE("session: what was written before a detach is read, and its end") {
  CutAgent agent;
  auto command = script("sleep 0.2; wc -c");
  command.program.stdin_open = true;
  auto program = agent.start(command);
  REQUIRE(program);
  const std::vector<std::byte> much(100'000);
  REQUIRE(program->write_stdin(much, kExecPatience));
  REQUIRE(program->close_stdin(kExecPatience));
  REQUIRE(program->detach());
  auto again = agent.attach("p", {.write = false, .position = 0});
  REQUIRE(again);
  CHECK(take_text(*again, 7) == "100000\n");
}

TEST_CASE("session: who only reads and attaches again sends nothing of what another has written") {
  CutAgent agent;
  auto command = script("cat");
  command.program.stdin_open = true;
  auto writer = agent.start(command);
  REQUIRE(writer);
  auto reader = agent.attach("p", {.write = false, .position = 0, .reattach = true});
  REQUIRE(reader);
  REQUIRE(writer->write_stdin(wire::as_bytes("first"), kExecPatience));
  CHECK(take_text(*reader, 5) == "first");
  REQUIRE(writer->detach());
  agent.home->cut();
  auto other = agent.attach("p");
  REQUIRE(other);
  REQUIRE(other->write_stdin(wire::as_bytes("second"), kExecPatience));
  CHECK(take_text(*reader, 6) == "second");
  REQUIRE(other->close_stdin(kExecPatience));
  CHECK(reader->wait(kExecPatience)->code == 0);
  CHECK(reader->position() == 11);
}

TEST_CASE("session: a suspend is told as one, and the position leads on") {
  CutAgent agent;
  auto first = agent.start(script("echo one; sleep 0.3; echo two"));
  REQUIRE(first);
  CHECK(take_text(*first, 4) == "one\n");
  agent.home->cut();
  CHECK(first->read(kExecPatience).error().code == ErrorCode::vm_suspended);
  CHECK(first->wait(kExecPatience).error().code == ErrorCode::vm_suspended);
  auto second = agent.attach("p", {.position = first->position()});
  REQUIRE(second);
  CHECK(take_text(*second, 100) == "two\n");
  const auto early = agent.attach("p", {.position = 1000});
  CHECK((!early && (early.error().code == ErrorCode::invalid_argument ||
                    early.error().code == ErrorCode::not_found)));
}

TEST_CASE(
    "session: who attaches again by itself misses no byte of the output and reads none twice") {
  CutAgent agent;
  constexpr uint32_t kLast = 400'000;
  auto program = agent.start(script("seq 0 " + std::to_string(kLast), true));
  REQUIRE(program);
  const int fd = program->fd();
  const std::string all = count_to(kLast);
  std::string text;
  for (int i = 1; i <= 5; i++) {
    text += take_text(*program, all.size() / 6);
    agent.home->cut();
    CHECK(program->fd() == fd);
  }
  text += take_text(*program, all.size());
  CHECK(text == all);
  CHECK(program->position() == all.size());
  CHECK(program->wait(kExecPatience)->code == 0);
}

TEST_CASE("session: and stdin comes whole and once, whoever of reader and writer meets the cut") {
  CutAgent agent;
  auto command = script("cat", true);
  command.program.stdin_open = true;
  auto program = agent.start(command);
  REQUIRE(program);
  const std::string all = count_to(300'000);
  std::thread writer([&] {
    for (size_t at = 0; at < all.size(); at += 10'000) {
      const auto piece = std::string_view(all).substr(at, 10'000);
      const auto written = program->write_stdin(wire::as_bytes(piece), kExecPatience);
      CHECK_MESSAGE(written, written.error().message);
      if (!written) return;
      if (at % 400'000 == 0) agent.home->cut();
    }
    CHECK(program->close_stdin(kExecPatience));
  });
  const std::string text = take_text(*program, all.size() + 1);
  writer.join();
  CHECK(text.size() == all.size());
  CHECK(text == all);
  CHECK(program->wait(kExecPatience)->code == 0);
}

TEST_CASE("session: what was written and closed before the cut arrives after it") {
  CutAgent agent;
  auto command = script("sleep 0.5; wc -c", true);
  command.program.stdin_open = true;
  auto program = agent.start(command);
  REQUIRE(program);
  const std::string text(150'000, 'x');
  REQUIRE(program->write_stdin(wire::as_bytes(text), kExecPatience));
  REQUIRE(program->close_stdin(kExecPatience));
  agent.home->cut();
  // Only polled until there is something: the handle sends by itself.
  pollfd readable{.fd = program->fd(), .events = POLLIN, .revents = 0};
  REQUIRE(::poll(&readable, 1, 10'000) == 1);
  CHECK(take_text(*program, 100) == "150000\n");
  CHECK(program->wait(kExecPatience)->code == 0);
}

TEST_CASE("session: a second writer since, or a program that is gone, is told and not written to") {
  CutAgent agent;
  auto command = script("cat", true);
  command.program.stdin_open = true;
  auto program = agent.start(command);
  REQUIRE(program);
  REQUIRE(program->write_stdin(wire::as_bytes("mine"), kExecPatience));
  CHECK(take_text(*program, 4) == "mine");
  agent.home->cut();
  {
    auto other = agent.attach("p", {.take_over = true});
    REQUIRE(other);
    REQUIRE(other->write_stdin(wire::as_bytes("theirs"), kExecPatience));
  }
  CHECK(program->write_stdin(wire::as_bytes("x"), kExecPatience).error().code == ErrorCode::busy);
  CHECK(program->read(kExecPatience).error().code == ErrorCode::busy);
  REQUIRE(agent.home->client().signal_exec("p", SIGKILL, within()));
  REQUIRE(agent.home->client().wait_exec("p", agent.home, within(), within()));
  CHECK(eventually([&] { return agent.list().empty(); }));
  CHECK(program->read(kExecPatience).error().code == ErrorCode::not_found);
}

TEST_CASE("session: arguments as Linux takes them, and its word where they are more") {
  CutAgent agent;
  auto command = script("echo $#");
  command.program.argv.emplace_back("sh");
  for (int i = 0; i < 15; i++) command.program.argv.emplace_back(100'000, 'x');
  auto program = agent.start(command);
  REQUIRE_MESSAGE(program, program.error().message);
  CHECK(take_text(*program, 100) == "15\n");
  command.program.argv.emplace_back(140'000, 'x');  // MAX_ARG_STRLEN is 128 KiB
  command.id = "";
  auto refused = agent.start(command);
  REQUIRE(refused);
  const auto status = refused->wait(kExecPatience);
  CHECK(status->code == 126);
  CHECK(status->message.find("argument list too long") != std::string::npos);
  for (int i = 0; i < 10; i++) command.program.argv.emplace_back(100'000, 'x');
  const auto too_long = agent.start(command);
  REQUIRE_FALSE(too_long);
  CHECK(too_long.error().code == ErrorCode::invalid_argument);
  CHECK(too_long.error().message == "arguments of more than 2048 KiB");
}

TEST_CASE("session: an agent of an older version runs programs, and says what it can not do") {
  const auto link = older_agent();
  AgentClient client(link);
  auto command = script("true");
  const auto refused = client.exec(command, nullptr, within());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::unsupported);
  CHECK(refused.error().message.find("rebuild the image") != std::string::npos);
  command.id = "";
  command.detached = true;
  CHECK(client.exec(command, nullptr, within()).error().code == ErrorCode::unsupported);
  command.detached = false;
  {
    auto plain = client.exec(command, nullptr, within());
    REQUIRE(plain);
    CHECK(plain->pid() == 7);
    CHECK(plain->id().empty());
    CHECK(plain->detach().error().code == ErrorCode::unsupported);
    REQUIRE(plain->writer());
  }
  CHECK(client.attach_exec("p", {}, nullptr, within()).error().code == ErrorCode::unsupported);
  CHECK(client.list_execs(within()).error().code == ErrorCode::unsupported);
  CHECK(client.signal_exec("p", 15, within()).error().code == ErrorCode::unsupported);
  CHECK(client.wait_exec("p", nullptr, within(), within()).error().code == ErrorCode::unsupported);
}

TEST_CASE("session: of stdin the last is kept, and what is not is said") {
  StdinLog log;
  log.begin(1000);
  const std::string chunk(100'000, 'x');
  for (int i = 0; i < 40; i++) log.append(wire::as_bytes(chunk));
  CHECK(log.end() == 4'001'000);
  CHECK(log.from(log.end() - StdinLog::kKeptBytes, 50).size() == 50);
  CHECK(log.from(log.end() - 20, 50).size() == 20);
  CHECK(log.check(log.end() - StdinLog::kKeptBytes, "exec"));
  CHECK(log.check(log.end(), "exec"));
  CHECK(log.check(1000, "exec").error().code == ErrorCode::invalid_argument);
  CHECK(log.check(log.end() + 1, "exec").error().code == ErrorCode::invalid_argument);
  log.take_back(100'000);
  CHECK(log.end() == 3'901'000);
  // What a stream has still to send stays.
  const uint64_t needed = log.end();
  for (int i = 0; i < 40; i++) log.append(wire::as_bytes(chunk), needed);
  CHECK(log.check(needed, "exec"));
  CHECK(log.from(needed, 50).size() == 50);
}
