// Waiting for calls that never wait, as one thread with poll() does.
#pragma once

#include <doctest/doctest.h>
#include <poll.h>

#include <utility>

#include "base/error.hpp"

namespace microvm::test {

// How often it looked in vain is the measure of a loop that turns without reason.
struct Poller {
  int looks = 0;

  // The call's result, once there is one.
  template <class Call>
  auto until(int fd, short events, Call&& call) {
    for (;;) {
      auto result = call();
      if (result || result.error().code != ErrorCode::would_block) return result;
      ++looks;
      pollfd ready{.fd = fd, .events = events, .revents = 0};
      REQUIRE(::poll(&ready, 1, 30'000) == 1);
    }
  }
};

inline bool is_ready(int fd, short events) {
  pollfd ready{.fd = fd, .events = events, .revents = 0};
  return ::poll(&ready, 1, 0) == 1;
}

template <class T>
bool would_block(const Result<T>& result) {
  return !result && result.error().code == ErrorCode::would_block;
}

}  // namespace microvm::test
