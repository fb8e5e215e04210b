// An fd that is readable while something is to be seen: for poll(), across threads.
#pragma once

#include <sys/eventfd.h>

#include <cstdint>

#include "base/fd.hpp"

namespace microvm::sys {

// Thread-safe. Invalid when the process has no more fds.
class EventFd {
 public:
  EventFd() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  explicit operator bool() const { return fd_.valid(); }
  [[nodiscard]] int get() const { return fd_.get(); }
  // Readable from here on, until clear().
  void raise() const {
    const uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(fd_.get(), &one, sizeof one);
  }
  void clear() const {
    uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(fd_.get(), &count, sizeof count);
  }

 private:
  base::Fd fd_;
};

}  // namespace microvm::sys
