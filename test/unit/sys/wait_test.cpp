#include "sys/wait.hpp"

#include <doctest/doctest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <thread>

#include "base/fd.hpp"
#include "sys/socket.hpp"
#include "unit/asleep.hpp"

using namespace microvm;
using namespace std::chrono_literals;
using sys::wait_fd;
using sys::WaitLimits;

TEST_CASE("wait: ready, late, cancelled") {
  const auto pair = sys::stream_pair();
  const base::Fd cancel(::eventfd(0, EFD_CLOEXEC));
  const int fd = pair->first.get();
  CHECK(*wait_fd(fd, POLLOUT) == POLLOUT);
  const auto late = wait_fd(fd, POLLIN, WaitLimits::within(1ms, cancel.get()));
  CHECK(late.error().code == ErrorCode::deadline_exceeded);
  REQUIRE(::write(pair->second.get(), "x", 1) == 1);
  CHECK(*wait_fd(fd, POLLIN, WaitLimits::within(0ms)) == POLLIN);
  REQUIRE(::eventfd_write(cancel.get(), 1) == 0);
  CHECK(wait_fd(fd, POLLIN, {.cancel_fd = cancel.get()}).error().code == ErrorCode::cancelled);
}

TEST_CASE("wait: a hang-up ends it, another thread's cancel too") {
  auto pair = sys::stream_pair();
  const base::Fd cancel(::eventfd(0, EFD_CLOEXEC));
  std::thread other([&, waiter = ::gettid()] {
    test::wait_until_asleep(waiter);
    ::eventfd_write(cancel.get(), 1);
  });
  const auto cancelled = wait_fd(pair->first.get(), POLLIN, {.cancel_fd = cancel.get()});
  CHECK(cancelled.error().code == ErrorCode::cancelled);
  other.join();
  pair->second.reset();
  CHECK((*wait_fd(pair->first.get(), POLLIN) & POLLHUP) != 0);
}
