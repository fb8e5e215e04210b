// While it lives, this process can open no file.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>

namespace microvm::test {

class NoRoomForFds {
 public:
  // Not at the lowest one that is free: other threads may close some meanwhile. Not below: poll(2)
  // takes no more fds than that.
  NoRoomForFds() {
    for (int standard = 0; standard < 3; ++standard) REQUIRE(::fcntl(standard, F_GETFD) >= 0);
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
    rlimit none = before_;
    none.rlim_cur = 3;
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  }
  ~NoRoomForFds() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  NoRoomForFds(const NoRoomForFds&) = delete;
  NoRoomForFds& operator=(const NoRoomForFds&) = delete;

 private:
  rlimit before_{};
};

}  // namespace microvm::test
