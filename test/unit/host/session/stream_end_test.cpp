// The end of a stream: who looks why, how often, and how long a stuck agent is waited for.
#include "host/session/stream_end.hpp"

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>

#include <thread>

#include "host/session/agent_messages.hpp"
#include "microvm/exec.hpp"
#include "unit/host/session/local_link.hpp"
#include "unit/host/session/pollable.hpp"

using namespace microvm;
using namespace microvm::host;
using microvm::test::is_ready;
using microvm::test::LocalLink;
using microvm::test::would_block;
using std::chrono::milliseconds;
using wire::FrameType;

namespace {

using EndClock = std::chrono::steady_clock;

Limits end_limits() {
  return Limits({}, std::chrono::seconds(20));
}

// A home whose errands the test does.
struct HeldHome final : StreamHome {
  Error why_ended(AgentLink&, std::string_view) override {
    return {ErrorCode::vm_suspended, "it was suspended"};
  }
  Result<void> with_link(const Limits&, std::string_view, const Use&) override { return {}; }
  bool later(Errand kind, Work work) override {
    CHECK(kind == Errand::look);
    if (!is_there) return false;
    errands.push_back(std::move(work));
    return true;
  }
  void do_all() {
    for (const Work& errand : std::exchange(errands, {})) errand(end_limits());
  }
  bool is_there = true;  // the Runtime
  std::vector<Work> errands;
};

void say_to_host(int stream, FrameType type, wire::ByteView body = {}) {
  FrameWriter writer;
  CHECK(writer.write(stream, type, body, end_limits(), "agent"));
}

// Until its other end is closed, and without a look at what is in it.
void be_stuck(int stream) {
  pollfd over{.fd = stream, .events = POLLRDHUP, .revents = 0};
  CHECK(::poll(&over, 1, 20'000) == 1);
}

std::shared_ptr<LocalLink> stuck_after(std::vector<FrameType> frames) {
  return std::make_shared<LocalLink>([frames = std::move(frames)](base::Fd stream) {
    microvm_agent_Started started{};
    std::string_view("prog").copy(started.id, sizeof started.id - 1);
    started.writer = true;
    for (const FrameType type : frames) {
      if (type == FrameType::started) {
        say_to_host(stream.get(), type, encode_message(started));
      } else {
        say_to_host(stream.get(), type);
      }
    }
    be_stuck(stream.get());
  });
}

ExecCommand named_command() {
  ExecCommand command;
  command.program.argv = {"true"};
  command.program.stdin_open = true;
  command.id = "prog";
  return command;
}

milliseconds time_of(const std::function<void()>& call) {
  const auto begin = EndClock::now();
  call();
  return std::chrono::duration_cast<milliseconds>(EndClock::now() - begin);
}

}  // namespace

TEST_CASE("stream end: for calls that do not wait one errand looks, and its answer is for good") {
  const auto link = std::make_shared<LocalLink>([](base::Fd) {});
  const auto home = std::make_shared<HeldHome>();
  const auto operation = Operation::open(link, "test", end_limits());
  REQUIRE(operation);
  const StreamEnd end(home);
  for (int i = 0; i < 3; ++i) {
    CHECK(end.why(*operation, Limits::at_once()).code == ErrorCode::would_block);
    CHECK(home->errands.size() == 1);
    CHECK(end_limits().wait(operation->fd(), POLLIN, "test"));  // its agent closed it
  }
  CHECK(end.why(*operation, end_limits()).code == ErrorCode::vm_suspended);
  home->do_all();
  for (int i = 0; i < 3; ++i) {
    CHECK(end.why(*operation, Limits::at_once()).code == ErrorCode::vm_suspended);
  }
  CHECK(home->errands.empty());
}

TEST_CASE("stream end: without the Runtime it is looked for at once") {
  const auto link = std::make_shared<LocalLink>([](base::Fd) {});
  const auto home = std::make_shared<HeldHome>();
  home->is_there = false;
  const auto operation = Operation::open(link, "test", end_limits());
  REQUIRE(operation);
  CHECK(StreamEnd(home).why(*operation, Limits::at_once()).code == ErrorCode::vm_suspended);
  CHECK(StreamEnd(nullptr).why(*operation, Limits::at_once()).code == ErrorCode::vm_gone);
}

TEST_CASE("farewell: where nothing may wait an errand does, and the stream ends with it") {
  const auto link = stuck_after({});
  const auto home = std::make_shared<HeldHome>();
  auto opened = Operation::open(link, "test", end_limits());
  REQUIRE(opened);
  const auto operation = std::make_shared<Operation>(std::move(*opened));
  Farewell farewell;
  farewell.say(operation, home.get(), milliseconds(10), Limits::at_once());
  CHECK(would_block(farewell.wait(Limits::at_once())));
  CHECK_FALSE(is_ready(operation->fd(), POLLIN));
  home->do_all();
  CHECK(is_ready(operation->fd(), POLLIN));
  CHECK(farewell.wait(Limits::at_once()));
}

// It would be waited for a second otherwise, and two where its stream is full.
TEST_CASE("farewell: a stuck agent is waited for within the caller's limits") {
  constexpr milliseconds kMost{800};
  for (const bool by_token : {false, true}) {
    CAPTURE(by_token);
    CancelToken token;
    std::optional<std::jthread> fires;
    // From here on.
    const auto soon = [&] {
      if (!by_token) return CallLimits{.cancel = nullptr, .timeout = milliseconds(100)};
      token = CancelToken();
      fires.emplace([stop = token]() mutable {
        std::this_thread::sleep_for(milliseconds(100));
        stop.cancel();
      });
      return CallLimits{.cancel = &token, .timeout = {}};
    };
    {
      const auto link = stuck_after({FrameType::started, FrameType::exited});
      auto exec = AgentClient(link).exec(named_command(), nullptr, end_limits());
      REQUIRE_MESSAGE(exec, exec.error().message);
      CHECK(time_of([&] { CHECK(exec->wait(soon())); }) < kMost);
    }
    {
      const auto link = stuck_after({FrameType::exec_info, FrameType::exited});
      CHECK(time_of([&] {
              CHECK(AgentClient(link).wait_exec("prog", nullptr, end_limits(), Limits(soon())));
            }) < kMost);
    }
    {
      const auto link = stuck_after({FrameType::started});
      auto exec = AgentClient(link).exec(named_command(), nullptr, end_limits());
      REQUIRE_MESSAGE(exec, exec.error().message);
      REQUIRE(exec->write_stdin(wire::as_bytes("x"), {}));
      CHECK(time_of([&] { CHECK(exec->detach(soon())); }) < kMost);
    }
  }
}
