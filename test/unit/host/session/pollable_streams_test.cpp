// The calls of terminals and watches that never wait, and what both are told of a suspend.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "host/session/agent_client.hpp"
#include "host/session/watch.hpp"
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
using microvm::test::TempDir;
using microvm::test::would_block;

namespace {

constexpr CallLimits kStreamPatience{.cancel = nullptr, .timeout = std::chrono::seconds(30)};

struct StreamsAgent {
  agent::TestGuest guest;
  std::shared_ptr<CutHome> home = std::make_shared<CutHome>(guest);
  ~StreamsAgent() { home->wait_for_errands(); }

  Pty terminal(const std::string& script) {
    PtyCommand command;
    command.program.argv = {"sh", "-c", script};
    command.program.env = {"PATH=/usr/bin:/bin"};
    command.id = "term";
    auto pty = home->client().open_pty(command, home, Limits(kStreamPatience));
    REQUIRE_MESSAGE(pty, pty.error().message);
    return std::move(*pty);
  }
  Watch watch(const std::filesystem::path& path) {
    auto watch = open_watch(home->link(), path.string(), {}, home, Limits(kStreamPatience));
    REQUIRE_MESSAGE(watch, watch.error().message);
    return std::move(*watch);
  }
};

std::string poll_screen(Pty& pty, Poller& poller, std::string_view text) {
  std::string out;
  while (out.find(text) == std::string::npos) {
    const auto output = poller.until(pty.fd(), POLLIN, [&] { return pty.try_read(); });
    REQUIRE_MESSAGE(output, output.error().message);
    if (!*output) break;
    out += wire::as_text((*output)->data);
  }
  return out;
}

// As a poller that waits has of the file, and a forked child of all that is open.
base::Fd copy_of(int fd) {
  base::Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  REQUIRE(copy);
  return copy;
}

// Drops it in a forked child, which it must not mean anything to.
template <class Handle>
void drop_in_child(Handle& handle) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::alarm(20);
    {
      [[maybe_unused]] const Handle dropped = std::move(handle);
    }
    ::_exit(0);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

}  // namespace

TEST_CASE("pollable terminal: would_block, awake by fd, keys, the end") {
  StreamsAgent agent;
  Pty pty = agent.terminal("echo ready; read line; echo got-$line; exit 5");
  Poller poller;
  poll_screen(pty, poller, "ready\r\n");
  CHECK(would_block(pty.try_read()));
  CHECK(would_block(pty.try_wait()));
  CHECK_FALSE(is_ready(pty.fd(), POLLIN));
  CHECK(*poller.until(pty.fd(), POLLOUT, [&] { return pty.try_write(wire::as_bytes("keys\r")); }) ==
        5);
  CHECK(*pty.try_write({}) == 0);
  poll_screen(pty, poller, "got-keys\r\n");
  CHECK(poller.until(pty.fd(), POLLIN, [&] { return pty.try_wait(); })->code == 5);
  CHECK(pty.try_read()->has_value() == false);
  CHECK(pty.wait(kStreamPatience)->code == 5);
  CHECK(poller.looks < 100);
  CHECK(agent.home->client().list_ptys(Limits(kStreamPatience))->empty());
}

TEST_CASE("pollable terminal: a program that does not read blocks nobody") {
  StreamsAgent agent;
  Pty pty = agent.terminal("stty raw -echo; echo ready; exec sleep 100");
  Poller poller;
  poll_screen(pty, poller, "ready");
  const std::string much(1 << 20, 'x');
  size_t taken = 0;
  for (bool is_full = false; !is_full;) {
    const auto some = pty.try_write(wire::as_bytes(much));
    if (some) taken += *some;
    if (some) continue;
    REQUIRE(would_block(some));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    is_full = !is_ready(pty.fd(), POLLOUT);
  }
  CHECK(taken > 0);
  CHECK(taken < (8u << 20));
  CHECK(would_block(pty.try_read()));
}

TEST_CASE("pollable terminal: a suspend is told as one by every call, and the position leads on") {
  for (const bool has_no_threads : {false, true}) {
    StreamsAgent agent;
    Pty pty = agent.terminal("echo one; sleep 0.2; echo two; sleep 100");
    Poller poller;
    poll_screen(pty, poller, "one\r\n");
    agent.home->has_no_threads = has_no_threads;
    agent.home->cut();
    const auto read = poller.until(pty.fd(), POLLIN, [&] { return pty.try_read(); });
    CHECK(read.error().code == ErrorCode::vm_suspended);
    CHECK(pty.try_wait().error().code == ErrorCode::vm_suspended);
    CHECK(pty.try_write(wire::as_bytes("x")).error().code == ErrorCode::vm_suspended);
    CHECK(pty.read(kStreamPatience).error().code == ErrorCode::vm_suspended);
    CHECK(pty.write(wire::as_bytes("x"), kStreamPatience).error().code == ErrorCode::vm_suspended);
    CHECK(pty.resize({}, kStreamPatience).error().code == ErrorCode::vm_suspended);
    CHECK(pty.signal(1, kStreamPatience).error().code == ErrorCode::vm_suspended);
    auto again = agent.home->client().attach_pty("term", {.position = pty.position()}, agent.home,
                                                 Limits(kStreamPatience));
    REQUIRE_MESSAGE(again, again.error().message);
    CHECK(poll_screen(*again, poller, "two\r\n") == "two\r\n");
  }
}

TEST_CASE("pollable watch: would_block, awake by fd, and a suspend is told as one") {
  StreamsAgent agent;
  TempDir dir;
  Watch watch = agent.watch(dir.path());
  CHECK(would_block(watch.try_next()));
  CHECK_FALSE(is_ready(watch.fd(), POLLIN));
  std::filesystem::create_directory(dir.path() / "made");
  Poller poller;
  const auto event = poller.until(watch.fd(), POLLIN, [&] { return watch.try_next(); });
  REQUIRE((event && *event));
  CHECK((*event)->path == "made");
  CHECK((*event)->kind == FileEvent::Kind::created);
  CHECK(poller.looks < 20);
  agent.home->cut();
  const auto cut = poller.until(watch.fd(), POLLIN, [&] { return watch.try_next(); });
  CHECK(cut.error().code == ErrorCode::vm_suspended);
  CHECK(watch.next(kStreamPatience).error().code == ErrorCode::vm_suspended);
}

TEST_CASE(
    "pollable terminal: one that goes tells who polls it, and its agent, whoever has a copy") {
  StreamsAgent agent;
  std::optional<Pty> pty = agent.terminal("echo ready; exec sleep 100");
  Poller poller;
  poll_screen(*pty, poller, "ready\r\n");
  const base::Fd copy = copy_of(pty->fd());
  drop_in_child(*pty);
  CHECK_FALSE(is_ready(copy.get(), POLLIN));
  pty.reset();
  CHECK(is_ready(copy.get(), POLLIN));
  const auto ptys = [&] { return agent.home->client().list_ptys(Limits(kStreamPatience)); };
  CHECK(eventually([&] { return ptys()->at(0).clients == 0; }));
  CHECK_FALSE(ptys()->at(0).ended);
}

TEST_CASE("pollable watch: one that goes tells who polls it, and its agent, whoever has a copy") {
  StreamsAgent agent;
  TempDir dir;
  std::optional<Watch> watch = agent.watch(dir.path());
  const auto instances = [] {
    size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code ec;
      count += std::filesystem::read_symlink(entry, ec) == "anon_inode:inotify" ? 1 : 0;
    }
    return count;
  };
  const size_t watching = instances();
  REQUIRE(watching > 0);
  const base::Fd copy = copy_of(watch->fd());
  drop_in_child(*watch);
  CHECK_FALSE(is_ready(copy.get(), POLLIN));
  watch.reset();
  CHECK(is_ready(copy.get(), POLLIN));
  CHECK(eventually([&] { return instances() < watching; }));
}
