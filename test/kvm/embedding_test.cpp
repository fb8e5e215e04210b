// Real workers in an embedder that forks, or has its own ideas of its children.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "host/worker/worker_pool.hpp"
#include "sys/process.hpp"

using namespace microvm;
using namespace microvm::host;
using namespace std::chrono_literals;

namespace {

constexpr Shape kTiny{.memory_bytes = 2 << 20, .vcpus = 1};

bool ends_within(pid_t pid, std::chrono::milliseconds limit) {
  const auto process = sys::Process::open(pid);
  if (!process) return true;
  return sys::wait_fd(process->pidfd(), POLLIN, sys::WaitLimits::within(limit)).has_value();
}

void check_workers_come_and_go() {
  const auto reactor = Reactor::create();
  REQUIRE(reactor);
  WorkerPool pool(std::make_shared<WorkerSpawner>(), **reactor);
  pool.keep(kTiny, 1);
  REQUIRE(pool.fill(kTiny));
  auto taken = pool.take(kTiny, Limits(CallLimits{}));
  REQUIRE(taken);
  const pid_t pid = taken->pid();
  CHECK_FALSE(ends_within(pid, 50ms));
  taken->end(0ms);
  CHECK(ends_within(pid, 5s));
  CHECK(pool.take(kTiny, Limits(CallLimits{})));
}

struct Embedder {
  pid_t itself;
  pid_t worker;
  pid_t forked;
};

// A process that has started a worker and then forked a child which has all its files.
Embedder start_embedder() {
  std::array<int, 2> ends{};
  REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
  const pid_t embedder = ::fork();
  if (embedder == 0) {
    WorkerSpawner spawner;
    auto worker = spawner.start_shaped(kTiny);
    if (!worker) ::_exit(1);
    const pid_t forked = ::fork();
    if (forked == 0) {
      ::alarm(60);
      for (;;) ::pause();
    }
    const std::array<pid_t, 2> pids = {static_cast<pid_t>(worker->pid()), forked};
    static_cast<void>(!::write(ends[1], pids.data(), sizeof pids));
    for (;;) ::pause();
  }
  std::array<pid_t, 2> pids{};
  REQUIRE(::read(ends[0], pids.data(), sizeof pids) == sizeof pids);
  for (const int end : ends) ::close(end);
  return {embedder, pids[0], pids[1]};
}

}  // namespace

TEST_CASE("embedding: workers of an embedder that ignores SIGCHLD") {
  const auto before = ::signal(SIGCHLD, SIG_IGN);
  check_workers_come_and_go();
  ::signal(SIGCHLD, before);
}

TEST_CASE("embedding: workers of an embedder that reaps whoever ends") {
  const std::jthread reaper([](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      if (::waitpid(-1, nullptr, WNOHANG) <= 0) std::this_thread::sleep_for(1ms);
    }
  });
  check_workers_come_and_go();
}

// It has a copy of the socket that tells a worker of its owner's end.
TEST_CASE(
    "embedding: a worker ends with its owner, though a child that the owner forked lives on") {
  const Embedder embedder = start_embedder();
  CHECK_FALSE(ends_within(embedder.worker, 100ms));
  REQUIRE(::kill(embedder.itself, SIGKILL) == 0);
  CHECK(ends_within(embedder.worker, 5s));
  CHECK(::kill(embedder.forked, 0) == 0);
  ::kill(embedder.forked, SIGKILL);
  REQUIRE(::waitpid(embedder.itself, nullptr, 0) == embedder.itself);
}
