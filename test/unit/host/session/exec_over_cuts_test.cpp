// What a program's handle that attaches again by itself owes to those who are at something else in
// that moment: they wait for its fd, detach it, drop it, close stdin, or are a forked child.
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <csignal>
#include <thread>

#include "host/session/agent_messages.hpp"
#include "microvm/exec.hpp"
#include "unit/agent/waiting.hpp"
#include "unit/host/session/cut_link.hpp"
#include "unit/host/session/pollable.hpp"
#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;
using microvm::agent::eventually;
using microvm::test::CutHome;
using microvm::test::is_ready;
using microvm::test::Poller;
using microvm::test::would_block;

namespace {

using CutClock = std::chrono::steady_clock;

constexpr CallLimits kCutPatience{.cancel = nullptr, .timeout = std::chrono::seconds(30)};

Limits cut_limits() {
  return Limits(kCutPatience);
}

// A home whose Vm wakes when the test says so.
class GatedHome final : public CutHome {
 public:
  using CutHome::CutHome;
  Result<void> with_link(const Limits& limits, std::string_view what, const Use& use) override {
    {
      std::unique_lock lock(gate_mutex_);
      ++waiting_;
      changed_.notify_all();
      changed_.wait(lock, [&] { return is_open_; });
      --waiting_;
    }
    return CutHome::with_link(limits, what, use);
  }
  void close_gate() {
    const std::scoped_lock lock(gate_mutex_);
    is_open_ = false;
  }
  void open_gate() {
    const std::scoped_lock lock(gate_mutex_);
    is_open_ = true;
    changed_.notify_all();
  }
  // Somebody is attaching again.
  void await_one() {
    std::unique_lock lock(gate_mutex_);
    REQUIRE(changed_.wait_for(lock, std::chrono::seconds(30), [&] { return waiting_ > 0; }));
  }

 private:
  std::mutex gate_mutex_;
  std::condition_variable changed_;
  bool is_open_ = true;
  int waiting_ = 0;
};

struct CutAgent {
  agent::TestGuest guest;
  std::shared_ptr<GatedHome> home = std::make_shared<GatedHome>(guest);
  ~CutAgent() {
    home->open_gate();
    home->wait_for_errands();
  }

  Exec start(const std::string& script) const {
    ExecCommand command;
    command.program.argv = {"sh", "-c", script};
    command.program.env = {"PATH=/usr/bin:/bin"};
    command.program.stdin_open = true;
    command.id = "p";
    command.reattach = true;
    auto exec = home->client().exec(command, home, cut_limits());
    REQUIRE_MESSAGE(exec, exec.error().message);
    return std::move(*exec);
  }
  [[nodiscard]] ExecInfo info() const {
    const auto execs = home->client().list_execs(cut_limits());
    REQUIRE_MESSAGE(execs, execs.error().message);
    REQUIRE(execs->size() == 1);
    return execs->front();
  }
  // It runs, and nobody is attached to it.
  [[nodiscard]] bool is_left_running() const {
    return eventually([&] { return info().clients == 0; }) && !info().ended;
  }
};

// Until the call is on its way to attach again.
void try_to_read_over_a_cut(CutAgent& agent, Exec& exec) {
  agent.home->close_gate();
  agent.home->cut();
  REQUIRE(is_ready(exec.fd(), POLLIN));
  REQUIRE(would_block(exec.try_read()));
  agent.home->await_one();
}

base::Fd epoll_of(int fd) {
  base::Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{.events = EPOLLIN, .data = {}};
  REQUIRE(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) == 0);
  return epoll;
}

bool has_told(const base::Fd& epoll) {
  epoll_event event{};
  return ::epoll_wait(epoll.get(), &event, 1, 0) == 1;
}

// What went, until not even a byte does, nor a moment later.
std::string fill_stdin(Exec& exec) {
  std::string all;
  int looks_in_vain = 0;
  for (size_t piece = 1 << 16; looks_in_vain < 5;) {
    const auto some = exec.try_write_stdin(wire::as_bytes(std::string(piece, 'x')));
    if (some) {
      all.append(*some, 'x');
      looks_in_vain = 0;
      continue;
    }
    REQUIRE(would_block(some));
    piece = 1;
    ++looks_in_vain;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return all;
}

// A child without exec: it has copies of all that is open.
struct ForkedCopy {
  pid_t pid = ::fork();
  ForkedCopy() {
    REQUIRE(pid >= 0);
    if (pid != 0) return;
    ::alarm(60);
    for (;;) ::pause();
  }
  ~ForkedCopy() {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
  ForkedCopy(const ForkedCopy&) = delete;
  ForkedCopy& operator=(const ForkedCopy&) = delete;
};

}  // namespace

// The thread that waits has not run yet when another one has attached again already: the file that
// it waits for must still be there to tell it.
TEST_CASE("exec over cuts: an epoll that was given the stream tells of the cut") {
  CutAgent agent;
  Exec exec = agent.start("exec cat");
  const base::Fd epoll = epoll_of(exec.fd());
  CHECK_FALSE(has_told(epoll));
  SUBCASE("when a call that waits has attached again") {
    agent.home->cut();
    REQUIRE(exec.write_stdin(wire::as_bytes("x"), kCutPatience));
    CHECK(has_told(epoll));
  }
  // The number stands for something else twice then: for what is quiet, and for the next stream.
  SUBCASE("when calls that do not wait have") {
    const auto begin = CutClock::now();
    agent.home->cut();
    Poller poller;
    const auto write = [&] { return exec.try_write_stdin(wire::as_bytes("x")); };
    REQUIRE(poller.until(exec.fd(), POLLOUT, write));
    REQUIRE(poller.looks > 0);
    const bool told = has_told(epoll);
    CHECK((told || CutClock::now() - begin > std::chrono::seconds(1)));
  }
}

TEST_CASE("exec over cuts: an epoll that was given what is quiet tells that it is over") {
  CutAgent agent;
  Exec exec = agent.start("exec cat");
  try_to_read_over_a_cut(agent, exec);
  const base::Fd epoll = epoll_of(exec.fd());
  CHECK_FALSE(has_told(epoll));
  const auto begin = CutClock::now();
  agent.home->open_gate();
  agent.home->wait_for_errands();
  CHECK(would_block(exec.try_read()));  // with the next stream
  const bool told = has_told(epoll);
  CHECK((told || CutClock::now() - begin > std::chrono::seconds(1)));
}

TEST_CASE("exec over cuts: what is kept for those who wait is bounded, and goes") {
  CutAgent agent;
  Exec exec = agent.start("exec cat");
  const auto open_files = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                         std::filesystem::directory_iterator());
  };
  const auto before = open_files();
  for (int i = 0; i < 20; ++i) {
    agent.home->cut();
    REQUIRE(exec.write_stdin(wire::as_bytes("x"), kCutPatience));
  }
  CHECK(open_files() <= before + 12);
  CHECK(eventually([&] {
    static_cast<void>(exec.try_read());
    return open_files() <= before + 2;
  }));
}

TEST_CASE("exec over cuts: a handle dropped while it attaches again leaves its program running") {
  CutAgent agent;
  {
    Exec exec = agent.start("exec sleep 100");
    try_to_read_over_a_cut(agent, exec);
  }
  agent.home->open_gate();
  agent.home->wait_for_errands();
  CHECK(agent.is_left_running());
  REQUIRE(agent.home->client().signal_exec("p", SIGTERM, cut_limits()));
  const auto status = agent.home->client().wait_exec("p", agent.home, cut_limits(), cut_limits());
  REQUIRE_MESSAGE(status, status.error().message);
  CHECK(status->signal == SIGTERM);
}

TEST_CASE("exec over cuts: one detached while it attaches again is, and leaves it running") {
  CutAgent agent;
  Exec exec = agent.start("exec sleep 100");
  SUBCASE("by an errand") {
    try_to_read_over_a_cut(agent, exec);
    REQUIRE(exec.detach(kCutPatience));
    agent.home->open_gate();
    agent.home->wait_for_errands();
    CHECK(is_ready(exec.fd(), POLLIN));
    CHECK(exec.try_read().error().code == ErrorCode::busy);
  }
  SUBCASE("by a call that waits") {
    agent.home->close_gate();
    agent.home->cut();
    std::optional<Result<std::optional<ExecOutput>>> read;
    std::thread reads([&] { read = exec.read(kCutPatience); });
    agent.home->await_one();
    const auto detached = exec.detach(kCutPatience);
    agent.home->open_gate();
    reads.join();
    CHECK(detached);
    CHECK(read->error().code == ErrorCode::busy);
  }
  CHECK(agent.is_left_running());
  CHECK(exec.write_stdin(wire::as_bytes("x"), kCutPatience).error().code == ErrorCode::busy);
}

TEST_CASE("exec over cuts: those who poll are woken beside a forked child") {
  CutAgent agent;
  Exec exec = agent.start("exec cat");
  try_to_read_over_a_cut(agent, exec);
  CHECK_FALSE(is_ready(exec.fd(), POLLIN));
  const ForkedCopy child;
  agent.home->open_gate();
  pollfd ready{.fd = exec.fd(), .events = POLLIN, .revents = 0};
  CHECK(::poll(&ready, 1, 10'000) == 1);
  REQUIRE(exec.write_stdin(wire::as_bytes("one"), kCutPatience));
  Poller poller;
  const auto output = poller.until(exec.fd(), POLLIN, [&] { return exec.try_read(); });
  REQUIRE((output && *output));
  CHECK(wire::as_text((*output)->data) == "one");
}

// The streams between have no room, and the program does not read before it is told to.
TEST_CASE("exec over cuts: a close of stdin that failed has not happened, and is tried again") {
  CutAgent agent;
  const test::TempDir dir;
  const auto go = dir.path() / "go";
  Exec exec = agent.start("while [ ! -e " + go.string() + " ]; do sleep 0.02; done; exec cat");
  std::string all = fill_stdin(exec);
  SUBCASE("at once") {
    CHECK(would_block(exec.try_close_stdin()));
  }
  SUBCASE("within its limits") {
    const CallLimits soon{.cancel = nullptr, .timeout = std::chrono::milliseconds(30)};
    CHECK(exec.close_stdin(soon).error().code == ErrorCode::deadline_exceeded);
  }
  std::filesystem::create_directory(go);
  std::string text;
  std::thread reads([&] {
    for (;;) {
      const auto output = exec.read(kCutPatience);
      if (!output || !*output) break;
      text += wire::as_text((*output)->data);
    }
  });
  for (const char* more : {"more", "and more"}) {
    const auto wrote = exec.write_stdin(wire::as_bytes(more), kCutPatience);
    CHECK_MESSAGE(wrote, wrote.error().message);
    all += more;
  }
  // It has not been told of an end with what was written since.
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK_FALSE(agent.info().ended);
  CHECK(exec.close_stdin(kCutPatience));
  reads.join();
  CHECK(text.size() == all.size());
  CHECK(text == all);
  CHECK(exec.wait(kCutPatience)->code == 0);
}
