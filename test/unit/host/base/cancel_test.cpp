#include "microvm/cancel.hpp"

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <mutex>
#include <thread>

#include "base/fd.hpp"
#include "host/base/limits.hpp"
#include "unit/without_streams.hpp"

using namespace microvm;
using namespace std::chrono_literals;

TEST_CASE("cancel token: copies share it, and its fd becomes readable for good") {
  CancelToken token;
  const CancelToken copy = token;
  pollfd fd{copy.fd(), POLLIN, 0};
  CHECK_FALSE(copy.cancelled());
  CHECK(::poll(&fd, 1, 0) == 0);
  token.cancel();
  token.cancel();
  CHECK(copy.cancelled());
  CHECK(::poll(&fd, 1, 0) == 1);
  CHECK(::poll(&fd, 1, 0) == 1);
}

TEST_CASE("limits: cancelling from another thread ends a wait") {
  CancelToken token;
  const host::Limits limits(CallLimits{&token, {}});
  std::thread other([&] {
    std::this_thread::sleep_for(20ms);
    token.cancel();
  });
  CancelToken never;
  CHECK(limits.wait(never.fd(), POLLIN, "wait").error().code == ErrorCode::cancelled);
  other.join();
}

TEST_CASE("limits: and in a forked child the child's own, with a token from before") {
  const CancelToken token;
  const base::Fd never(::eventfd(0, EFD_CLOEXEC));
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(10);
    CancelToken copy = token;
    std::thread other([&] { copy.cancel(); });
    const auto waited = host::Limits(CallLimits{&token, {}}).wait(never.get(), POLLIN, "wait");
    other.join();
    ::_exit(waited ? 1 : 0);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK_FALSE(token.cancelled());
}

TEST_CASE("limits: the earlier of two time limits counts") {
  const host::Limits both({nullptr, 50'000ms}, 10ms);
  CancelToken never;
  const auto late = both.wait(never.fd(), POLLIN, "wait");
  CHECK(late.error().code == ErrorCode::deadline_exceeded);
  CHECK(late.error().message == "wait: the time limit passed");
  CHECK(both.rest().timeout == 1ms);
  const host::Limits none{CallLimits{}};
  CHECK(none.rest().timeout == 0ms);
  CHECK(none.within(10ms).deadline().has_value());
}

TEST_CASE("cancel token: its fd is nobody's standard input") {
  CHECK(test::holds_without_streams([] {
    const CancelToken token;
    return token.fd() > 2 && test::low_fds_are_free();
  }));
}

TEST_CASE("limits: of a call that must not wait, whatever it is narrowed to") {
  std::timed_mutex mutex;
  const base::Fd event(::eventfd(0, EFD_CLOEXEC));
  for (const host::Limits& limits :
       {host::Limits::at_once(), host::Limits::at_once().within(std::chrono::seconds(20))}) {
    CHECK_FALSE(limits.may_wait());
    CHECK(limits.check("test"));
    CHECK(limits.wait(event.get(), POLLIN, "test").error().code == ErrorCode::would_block);
    CHECK(limits.wait(event.get(), POLLOUT, "test"));
    const auto held = limits.lock(mutex, "test");
    CHECK(held);
    std::thread([&] {
      CHECK(limits.lock(mutex, "test").error().code == ErrorCode::would_block);
    }).join();
  }
  CHECK(host::Limits({}).may_wait());
}
