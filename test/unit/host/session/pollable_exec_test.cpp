// The calls of a program's handle that never wait: what is there is taken, what is not would block,
// and fd() tells when to come again; over cuts too, and with one thread for many.
#include <doctest/doctest.h>
#include <poll.h>

#include <csignal>
#include <map>
#include <thread>

#include "host/session/agent_messages.hpp"
#include "host/session/collect_output.hpp"
#include "microvm/exec.hpp"
#include "unit/agent/waiting.hpp"
#include "unit/host/session/cut_link.hpp"
#include "unit/host/session/local_link.hpp"
#include "unit/host/session/pollable.hpp"

using namespace microvm;
using namespace microvm::host;
using microvm::agent::eventually;
using microvm::test::CutHome;
using microvm::test::is_ready;
using microvm::test::LocalLink;
using microvm::test::Poller;
using microvm::test::would_block;
using wire::FrameType;

namespace {

constexpr CallLimits kPollPatience{.cancel = nullptr, .timeout = std::chrono::seconds(30)};

Limits poll_limits() {
  return Limits(kPollPatience);
}

ExecCommand polled(const std::string& script, bool reattach = false) {
  ExecCommand command;
  command.program.argv = {"sh", "-c", script};
  command.program.env = {"PATH=/usr/bin:/bin"};
  command.program.stdin_open = true;
  command.id = "p";
  command.reattach = reattach;
  return command;
}

// A home that takes its time.
class SlowHome final : public CutHome {
 public:
  using CutHome::CutHome;
  Result<void> with_link(const Limits& limits, std::string_view what, const Use& use) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms.load()));
    return CutHome::with_link(limits, what, use);
  }
  std::atomic<int> delay_ms{0};
};

struct PolledAgent {
  agent::TestGuest guest;
  std::shared_ptr<SlowHome> home = std::make_shared<SlowHome>(guest);
  ~PolledAgent() { home->wait_for_errands(); }

  Exec start(const ExecCommand& command) {
    auto exec = home->client().exec(command, home, poll_limits());
    REQUIRE_MESSAGE(exec, exec.error().message);
    return std::move(*exec);
  }
};

// All output until the end, or as much as that.
std::string poll_text(Exec& exec, Poller& poller, size_t bytes = SIZE_MAX) {
  std::string text;
  while (text.size() < bytes) {
    const auto output = poller.until(exec.fd(), POLLIN, [&] { return exec.try_read(); });
    REQUIRE_MESSAGE(output, output.error().message);
    if (!*output) break;
    CHECK((*output)->lost_bytes == 0);
    text += wire::as_text((*output)->data);
  }
  return text;
}

void poll_write(Exec& exec, Poller& poller, std::string_view text) {
  while (!text.empty()) {
    const auto taken = poller.until(exec.fd(), POLLOUT,
                                    [&] { return exec.try_write_stdin(wire::as_bytes(text)); });
    REQUIRE_MESSAGE(taken, taken.error().message);
    REQUIRE(*taken > 0);
    text.remove_prefix(*taken);
  }
}

std::string numbers_to(uint32_t last) {
  std::string text;
  for (uint32_t i = 0; i <= last; i++) text += std::to_string(i) + "\n";
  return text;
}

// Streams whose other ends the test holds.
class HandLink final : public AgentLink {
 public:
  Result<base::Fd> open(const Limits&) override {
    auto pair = sys::stream_pair();
    if (!pair) return base::fail(pair.error());
    peer = std::move(pair->second);
    if (!greeting.empty()) send(greeting);
    return std::move(pair->first);
  }
  Error broken(std::string_view what) override {
    return {ErrorCode::vm_gone, std::string(what) + ": the peer is gone"};
  }
  void send(wire::ByteView bytes) {
    REQUIRE(::send(peer.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(bytes.size()));
  }
  wire::Bytes greeting;
  base::Fd peer;
};

wire::Bytes frame_bytes(FrameType type, wire::ByteView body) {
  const auto header = wire::FrameHeader{static_cast<uint32_t>(body.size()), type}.encode();
  wire::ByteWriter bytes;
  bytes.put_bytes(header);
  bytes.put_bytes(body);
  return bytes.take();
}

struct HandProgram {
  std::shared_ptr<HandLink> link = std::make_shared<HandLink>();
  std::optional<Exec> exec;

  HandProgram() {
    microvm_agent_Started started{};
    started.pid = 7;
    link->greeting = frame_bytes(FrameType::started, encode_message(started));
    auto begun = AgentClient(link).exec(AgentCommand{.argv = {"x"}}, poll_limits());
    REQUIRE(begun);
    exec = std::move(*begun);
  }
};

size_t open_fds() {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                                           std::filesystem::directory_iterator()));
}

}  // namespace

TEST_CASE("pollable exec: would_block, awake by fd, all of the output, the end") {
  PolledAgent agent;
  Exec exec = agent.start(polled("echo one; read line; echo \"$line\" >&2; exit 4"));
  Poller poller;
  CHECK(poll_text(exec, poller, 4) == "one\n");
  CHECK(would_block(exec.try_read()));
  CHECK(would_block(exec.try_wait()));
  CHECK_FALSE(is_ready(exec.fd(), POLLIN));
  poll_write(exec, poller, "two\n");
  const auto output = poller.until(exec.fd(), POLLIN, [&] { return exec.try_read(); });
  REQUIRE((output && *output));
  CHECK((*output)->stream == ExecOutput::Stream::err);
  CHECK(wire::as_text((*output)->data) == "two\n");
  CHECK(exec.position() == 8);
  const auto status = poller.until(exec.fd(), POLLIN, [&] { return exec.try_wait(); });
  REQUIRE_MESSAGE(status, status.error().message);
  CHECK(status->code == 4);
  // For good, and for the calls that wait too.
  CHECK(is_ready(exec.fd(), POLLIN));
  CHECK(exec.try_read()->has_value() == false);
  CHECK(exec.try_wait()->code == 4);
  CHECK(exec.wait(kPollPatience)->code == 4);
  CHECK(poller.looks < 100);
}

TEST_CASE("pollable exec: whose end was told has its name free") {
  PolledAgent agent;
  for (int i = 0; i < 20; i++) {
    Exec exec = agent.start(polled("exit 3"));
    Poller poller;
    CHECK(poller.until(exec.fd(), POLLIN, [&] { return exec.try_wait(); })->code == 3);
    CHECK(agent.home->client().list_execs(poll_limits())->empty());
    CHECK(poller.looks < 20);
  }
}

TEST_CASE("pollable exec: one thread serves 300 with poll" * doctest::timeout(120)) {
  agent::TestGuest guest;
  const auto link = std::make_shared<LocalLink>(
      [&](base::Fd stream) { agent::serve_operation(guest, std::move(stream)); });
  constexpr size_t kMany = 300;
  const std::string all = numbers_to(3000);
  std::map<int, Exec> running;
  std::map<int, std::string> texts;
  for (size_t i = 0; i < kMany; i++) {
    auto command = polled("");
    command.program.argv = {"seq", "0", "3000"};
    command.id.clear();
    auto exec = AgentClient(link).exec(command, nullptr, poll_limits());
    REQUIRE_MESSAGE(exec, exec.error().message);
    const int fd = exec->fd();
    running.emplace(fd, std::move(*exec));
  }
  size_t whole = 0;
  while (!running.empty()) {
    std::vector<pollfd> fds;
    for (const auto& [fd, exec] : running)
      fds.push_back({.fd = fd, .events = POLLIN, .revents = 0});
    REQUIRE(::poll(fds.data(), fds.size(), 30'000) > 0);
    for (const pollfd& ready : fds) {
      if (ready.revents == 0) continue;
      Exec& exec = running.at(ready.fd);
      const auto output = exec.try_read();
      if (would_block(output)) continue;
      REQUIRE_MESSAGE(output, output.error().message);
      if (*output) {
        texts[ready.fd] += wire::as_text((*output)->data);
        continue;
      }
      CHECK(exec.try_wait()->code == 0);
      whole += texts[ready.fd] == all ? 1 : 0;
      texts.erase(ready.fd);
      running.erase(ready.fd);
    }
  }
  CHECK(whole == kMany);
}

TEST_CASE("pollable exec: a frame that comes byte by byte is kept, and is there with its last") {
  HandProgram hand;
  const auto bytes = frame_bytes(FrameType::stdout_data, wire::as_bytes("abc"));
  for (size_t i = 0; i < bytes.size(); i++) {
    CHECK(would_block(hand.exec->try_read()));
    CHECK_FALSE(is_ready(hand.exec->fd(), POLLIN));
    hand.link->send(wire::ByteView(bytes).subspan(i, 1));
    CHECK(is_ready(hand.exec->fd(), POLLIN));
  }
  const auto output = hand.exec->try_read();
  REQUIRE((output && *output));
  CHECK(wire::as_text((*output)->data) == "abc");
  CHECK(would_block(hand.exec->try_read()));
  // A call that waits goes on where one that does not has stopped.
  hand.link->send(wire::ByteView(bytes).first(5));
  CHECK(would_block(hand.exec->try_read()));
  hand.link->send(wire::ByteView(bytes).subspan(5));
  CHECK(wire::as_text((*hand.exec->read(kPollPatience))->data) == "abc");
}

TEST_CASE("pollable exec: a guest that sends frames of nothing without end holds nobody") {
  HandProgram hand;
  const auto nothing = frame_bytes(FrameType::stdout_data, {});
  for (int i = 0; i < 200; i++) hand.link->send(nothing);
  CHECK(would_block(hand.exec->try_read()));
  CHECK(is_ready(hand.exec->fd(), POLLIN));
  PolledAgent agent;
  Exec endless = agent.start(polled("exec yes"));
  for (int i = 0; i < 20; i++) CHECK(would_block(endless.try_wait()));
}

TEST_CASE("pollable exec: a program that does not read blocks nobody, and loses nothing") {
  PolledAgent agent;
  Exec exec = agent.start(polled("exec sleep 100"));
  const std::string much(1 << 20, 'x');
  size_t taken = 0;
  for (;;) {
    const auto some = exec.try_write_stdin(wire::as_bytes(much));
    if (would_block(some)) {
      // What the streams between take at last.
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      if (!is_ready(exec.fd(), POLLOUT)) break;
      continue;
    }
    REQUIRE_MESSAGE(some, some.error().message);
    REQUIRE(*some > 0);
    taken += *some;
    REQUIRE(taken < (64u << 20));
  }
  CHECK(taken > 0);
  CHECK(would_block(exec.try_read()));
  CHECK(*exec.try_write_stdin({}) == 0);
}

TEST_CASE("pollable exec: what was taken arrives, whole, once and in order, then the end") {
  PolledAgent agent;
  Exec exec = agent.start(polled("sleep 0.3; exec cat"));
  const std::string all = numbers_to(400'000);
  Poller poller;
  std::string text;
  std::string_view rest = all;
  bool closed = false;
  for (;;) {
    while (!rest.empty()) {
      const auto taken = exec.try_write_stdin(wire::as_bytes(rest));
      if (!taken) REQUIRE(would_block(taken));
      if (!taken) break;
      rest.remove_prefix(*taken);
    }
    if (rest.empty() && !closed) closed = exec.try_close_stdin().has_value();
    const auto output = exec.try_read();
    if (would_block(output)) {
      pollfd ready{.fd = exec.fd(), .events = POLLIN, .revents = 0};
      if (!closed) ready.events |= POLLOUT;
      REQUIRE(::poll(&ready, 1, 30'000) == 1);
      continue;
    }
    REQUIRE_MESSAGE(output, output.error().message);
    if (!*output) break;
    text += wire::as_text((*output)->data);
  }
  CHECK(text.size() == all.size());
  CHECK(text == all);
}

TEST_CASE("pollable exec: while another thread waits in a write or a read, this one does not") {
  PolledAgent agent;
  Exec exec = agent.start(polled("exec sleep 100"));
  CancelToken stop;
  const CallLimits until_stopped{.cancel = &stop, .timeout = {}};
  std::thread writes([&] {
    const std::string much(8 << 20, 'x');
    CHECK_FALSE(exec.write_stdin(wire::as_bytes(much), until_stopped));
  });
  CHECK(eventually([&] { return would_block(exec.try_write_stdin(wire::as_bytes("x"))); }));
  CHECK(would_block(exec.try_read()));
  stop.cancel();
  writes.join();
  CancelToken stop_reading;
  const CallLimits until_read{.cancel = &stop_reading, .timeout = {}};
  std::thread reads([&] { CHECK_FALSE(exec.read(until_read)); });
  for (int i = 0; i < 100; i++) CHECK(would_block(exec.try_read()));
  stop_reading.cancel();
  reads.join();
}

TEST_CASE("pollable exec: a suspend is told as one, also when nobody can be sent to look") {
  for (const bool has_no_threads : {false, true}) {
    PolledAgent agent;
    Exec exec = agent.start(polled("sleep 100"));
    CHECK(would_block(exec.try_read()));
    agent.home->has_no_threads = has_no_threads;
    agent.home->cut();
    Poller poller;
    const auto read = poller.until(exec.fd(), POLLIN, [&] { return exec.try_read(); });
    CHECK(read.error().code == ErrorCode::vm_suspended);
    const auto wrote =
        poller.until(exec.fd(), POLLOUT, [&] { return exec.try_write_stdin(wire::as_bytes("x")); });
    CHECK(wrote.error().code == ErrorCode::vm_suspended);
    CHECK(exec.try_wait().error().code == ErrorCode::vm_suspended);
    CHECK(exec.wait(kPollPatience).error().code == ErrorCode::vm_suspended);
  }
}

TEST_CASE("pollable exec: who attaches again by itself misses nothing, and polls in peace") {
  PolledAgent agent;
  agent.home->delay_ms = 300;
  constexpr uint32_t kLast = 300'000;
  Exec exec = agent.start(polled("seq 0 " + std::to_string(kLast), true));
  const int fd = exec.fd();
  const std::string all = numbers_to(kLast);
  Poller poller;
  std::string text;
  for (int i = 0; i < 3; i++) {
    text += poll_text(exec, poller, all.size() / 5);
    poller.looks = 0;
    agent.home->cut();
    text += poll_text(exec, poller, all.size() / 50);
    CHECK(poller.looks < 60);
    CHECK(exec.fd() == fd);
  }
  text += poll_text(exec, poller);
  CHECK(text.size() == all.size());
  CHECK(text == all);
  CHECK(poller.until(fd, POLLIN, [&] { return exec.try_wait(); })->code == 0);
}

TEST_CASE("pollable exec: and stdin goes on at its byte, whoever meets the cut") {
  PolledAgent agent;
  agent.home->delay_ms = 50;
  Exec exec = agent.start(polled("cat", true));
  const std::string all = numbers_to(200'000);
  std::string text;
  Poller poller;
  for (size_t at = 0; at < all.size(); at += 20'000) {
    const auto piece = std::string_view(all).substr(at, 20'000);
    if (at % 200'000 == 0) agent.home->cut();
    poll_write(exec, poller, piece);
    while (text.size() < at + piece.size()) text += poll_text(exec, poller, 1);
  }
  CHECK(poller.until(exec.fd(), POLLOUT, [&] { return exec.try_close_stdin(); }));
  text += poll_text(exec, poller);
  CHECK(text == all);
}

TEST_CASE(
    "pollable exec: without the Runtime's threads it is told, and the call that waits goes on") {
  PolledAgent agent;
  Exec exec = agent.start(polled("sleep 0.2; echo more", true));
  agent.home->has_no_threads = true;
  agent.home->cut();
  Poller poller;
  const auto read = poller.until(exec.fd(), POLLIN, [&] { return exec.try_read(); });
  CHECK(read.error().code == ErrorCode::vm_suspended);
  const auto more = exec.read(kPollPatience);
  REQUIRE((more && *more));
  CHECK(wire::as_text((*more)->data) == "more\n");
}

TEST_CASE("pollable exec: a handle that goes while it is attached again leaves nothing") {
  PolledAgent agent;
  const size_t before = open_fds();
  for (int i = 0; i < 5; i++) {
    const std::string name = std::to_string(i);
    agent.home->delay_ms = 100;
    {
      auto command = polled("exec sleep 100", true);
      command.id = name;
      Exec exec = agent.start(command);
      agent.home->cut();
      pollfd ready{.fd = exec.fd(), .events = POLLIN, .revents = 0};
      REQUIRE(::poll(&ready, 1, 30'000) == 1);
      CHECK(would_block(exec.try_read()));
      CHECK_FALSE(is_ready(exec.fd(), POLLIN));
      CHECK_FALSE(is_ready(exec.fd(), POLLOUT));
    }
    agent.home->delay_ms = 0;
    REQUIRE(agent.home->client().signal_exec(name, SIGKILL, poll_limits()));
    REQUIRE(agent.home->client().wait_exec(name, agent.home, poll_limits(), poll_limits()));
  }
  CHECK(eventually([&] { return open_fds() <= before + 2; }));
}

TEST_CASE("pollable exec: a program is given its input while its output is taken") {
  PolledAgent agent;
  const std::string input = numbers_to(1'400'000);
  REQUIRE(input.size() > 10'000'000);
  Exec cat = agent.start(polled("exec cat"));
  auto result = collect_output(cat, {.max_bytes = 1u << 24, .input = input}, poll_limits());
  REQUIRE_MESSAGE(result, result.error().message);
  CHECK(result->status.code == 0);
  CHECK(result->out == input);
  // One that reads only a part, and one that reads nothing.
  for (const char* script : {"head -c 5", "exit 7", "exec 0<&-; sleep 0.3; exit 7"}) {
    auto command = polled(script);
    command.id.clear();
    Exec exec = agent.start(command);
    result = collect_output(exec, {.input = input}, poll_limits());
    REQUIRE_MESSAGE(result, result.error().message);
    CHECK((result->status.code == 7 || result->out == "0\n1\n2"));
  }
  auto command = polled("exec sleep 100");
  command.id.clear();
  Exec sleeps = agent.start(command);
  const CallLimits brief{.cancel = nullptr, .timeout = std::chrono::milliseconds(200)};
  result = collect_output(sleeps, {.input = input}, Limits(brief));
  CHECK(result.error().code == ErrorCode::deadline_exceeded);
}
