#include "sys/low_fds.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace microvm::sys {

// The kernel gives the lowest number that is free, so none is taken that somebody has.
LowFdsHeld::LowFdsHeld() {
  constexpr int kCount = 3;
  for (;;) {
    const int fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    if (fd >= kCount) {
      ::close(fd);
      return;
    }
    held_.at(static_cast<size_t>(fd)) = true;
  }
}

LowFdsHeld::~LowFdsHeld() {
  for (size_t fd = 0; fd < held_.size(); ++fd) {
    if (held_.at(fd)) ::close(static_cast<int>(fd));
  }
}

}  // namespace microvm::sys
