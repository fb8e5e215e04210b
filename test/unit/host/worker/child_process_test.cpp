#include "host/worker/child_process.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>

#include <csignal>
#include <thread>

#include "sys/file.hpp"

using namespace microvm;
using namespace microvm::host;
using namespace std::chrono_literals;

namespace {

std::shared_ptr<ChildProcess> start(const std::string& script) {
  const auto shell = sys::open_at(AT_FDCWD, "/bin/sh", O_RDONLY);
  REQUIRE(shell);
  auto process = sys::spawn(shell->get(), {.arguments = {"sh", "-c", script}});
  REQUIRE(process);
  return std::make_shared<ChildProcess>(std::move(*process));
}

// A zombie still takes signals.
bool is_gone_soon(pid_t pid) {
  for (int i = 0; i < 500; ++i) {
    if (::kill(pid, 0) != 0) return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

}  // namespace

TEST_CASE("child process: the reactor reaps it, and its end stays known") {
  const auto reactor = std::move(*Reactor::create());
  const auto child = start("exit 7");
  child->reap_on(*reactor);
  CHECK(is_gone_soon(child->pid()));
  for (int i = 0; i < 2; ++i) {
    const auto exit = child->wait(sys::WaitLimits::within(5s));
    REQUIRE(exit);
    CHECK(exit->code == 7);
  }
  CHECK(child->kill());
}

TEST_CASE("child process: one that nobody holds any more is reaped all the same") {
  const auto reactor = std::move(*Reactor::create());
  auto child = start("sleep 0.1");
  const pid_t pid = child->pid();
  child->reap_on(*reactor);
  child.reset();
  CHECK(is_gone_soon(pid));
}

namespace {

// As embedders have it that want no zombies: the kernel reaps, and nobody learns how.
class IgnoredChildren {
 public:
  IgnoredChildren() : before_(::signal(SIGCHLD, SIG_IGN)) {}
  ~IgnoredChildren() { ::signal(SIGCHLD, before_); }
  IgnoredChildren(const IgnoredChildren&) = delete;
  IgnoredChildren& operator=(const IgnoredChildren&) = delete;

 private:
  sighandler_t before_;
};

// Or this: whoever ends is reaped by somebody who does not know it.
class ForeignReaper {
 public:
  ForeignReaper()
      : thread_([](const std::stop_token& stop) {
          while (!stop.stop_requested()) {
            if (::waitpid(-1, nullptr, WNOHANG) <= 0) std::this_thread::sleep_for(1ms);
          }
        }) {}

 private:
  std::jthread thread_;
};

// Each end is seen at once, whether or not it is told how.
void check_ends_are_seen() {
  const auto reactor = std::move(*Reactor::create());
  for (const bool by_reactor : {false, true}) {
    const auto quick = start("exit 7");
    const auto killed = start("sleep 1000");
    if (by_reactor) quick->reap_on(*reactor);
    const auto exit = quick->wait(sys::WaitLimits::within(5s));
    CHECK((exit ? exit->code == 7 : exit.error().code == ErrorCode::not_found));
    CHECK(killed->wait(sys::WaitLimits::within(1ms)).error().code == ErrorCode::deadline_exceeded);
    REQUIRE(killed->kill());
    const auto end = killed->wait(sys::WaitLimits::within(5s));
    CHECK((end ? end->signal == SIGKILL : end.error().code == ErrorCode::not_found));
    CHECK(killed->kill());  // of one that is long gone
    CHECK(is_gone_soon(killed->pid()));
  }
}

}  // namespace

TEST_CASE("child process: an embedder that ignores SIGCHLD") {
  const IgnoredChildren ignored;
  check_ends_are_seen();
}

TEST_CASE("child process: an embedder that reaps whoever ends") {
  const ForeignReaper reaper;
  check_ends_are_seen();
}

TEST_CASE("child process: without a reactor the waiting caller reaps it") {
  const auto child = start("sleep 1000");
  const auto early = child->wait(sys::WaitLimits::within(10ms));
  REQUIRE_FALSE(early);
  CHECK(early.error().code == ErrorCode::deadline_exceeded);
  REQUIRE(child->kill());
  const auto exit = child->wait(sys::WaitLimits::within(5s));
  REQUIRE(exit);
  CHECK(exit->signal == SIGKILL);
  CHECK(::kill(child->pid(), 0) != 0);
}
