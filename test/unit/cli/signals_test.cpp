// In a process of their own: handlers and what they count are a process's.
#include "examples/cli/signals.hpp"

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <mutex>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using microvm::CancelToken;

namespace {

constexpr auto kAnotherTime = 400ms;

// What a child leaves that runs `steps`: its exit code, or 128 + signal.
template <class Steps>
int status_of(Steps steps) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::alarm(20);
    static CancelToken token;
    cli::cancel_on_signals(token);
    ::_exit(steps(token) ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool waits_for(const CancelToken& token) {
  pollfd fd{token.fd(), POLLIN, 0};
  while (::poll(&fd, 1, 10'000) < 0) {
  }
  return token.cancelled();
}

// What a relay passed on.
class Passed {
 public:
  void add(int signal) {
    const std::lock_guard lock(mutex_);
    signals_.push_back(signal);
  }
  bool becomes(const std::vector<int>& wanted) {
    for (int i = 0; i < 500; ++i, std::this_thread::sleep_for(10ms)) {
      const std::lock_guard lock(mutex_);
      if (signals_ == wanted) return true;
    }
    return false;
  }

 private:
  std::mutex mutex_;
  std::vector<int> signals_;
};

bool cuts_at_second(int first, int second) {
  Passed passed;
  cli::SignalRelay relay([&](int signal, const CancelToken&) { passed.add(signal); });
  ::raise(first);
  if (!passed.becomes({first}) || relay.cut().cancelled()) return false;
  ::raise(second);
  return waits_for(relay.cut()) && cli::SignalRelay::signal_of_cut() == second;
}

}  // namespace

TEST_CASE("cli: the first signal cancels, the second ends at once, the same time counts once") {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    CHECK(status_of([&](CancelToken& token) {
            ::raise(signal);
            ::raise(signal);
            return token.cancelled() && cli::signal_of_cancel() == signal;
          }) == 0);
  }
  CHECK(status_of([](CancelToken&) {
          ::raise(SIGINT);
          std::this_thread::sleep_for(kAnotherTime);
          ::raise(SIGINT);
          return true;
        }) == 128 + SIGINT);
  CHECK(status_of([](CancelToken&) {
          ::raise(SIGINT);
          ::raise(SIGTERM);
          return true;
        }) == 128 + SIGTERM);
}

TEST_CASE("cli: what nohup ignored stays ignored") {
  const auto before = ::signal(SIGHUP, SIG_IGN);
  CHECK(status_of([](CancelToken& token) {
          ::raise(SIGHUP);
          return !token.cancelled();
        }) == 0);
  ::signal(SIGHUP, before);
}

TEST_CASE("cli: a relay passes the first on, the second cuts, the third ends") {
  CHECK(status_of([](CancelToken& token) {
          return cuts_at_second(SIGINT, SIGTERM) && !token.cancelled();
        }) == 0);
  CHECK(status_of([](CancelToken&) {
          cuts_at_second(SIGTERM, SIGINT);
          ::raise(SIGTERM);
          return true;
        }) == 128 + SIGTERM);
}

TEST_CASE("cli: a relay passes on what is no wish for the end, as often as it comes") {
  CHECK(status_of([](CancelToken&) {
          Passed passed;
          cli::SignalRelay relay([&](int signal, const CancelToken&) { passed.add(signal); });
          for (const int signal : {SIGQUIT, SIGUSR1, SIGUSR1}) ::raise(signal);
          return passed.becomes({SIGQUIT, SIGUSR1, SIGUSR1}) && !relay.cut().cancelled();
        }) == 0);
}

TEST_CASE("cli: a signal that came before the relay is passed on, and counts") {
  CHECK(status_of([](CancelToken&) {
          ::raise(SIGTERM);
          Passed passed;
          cli::SignalRelay relay([&](int signal, const CancelToken&) { passed.add(signal); });
          if (!passed.becomes({SIGTERM})) return false;
          ::raise(SIGINT);
          return waits_for(relay.cut());
        }) == 0);
}
