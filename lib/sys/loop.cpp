#include "sys/loop.hpp"

#include "sys/plain_loop.hpp"
#include "sys/uring_loop.hpp"

namespace microvm::sys {

// Any reason why there is no ring (EPERM by sysctl or seccomp, ENOSYS, ENOMEM by memlock, an old
// kernel) is one not to use it; what is really wrong with the host fails the plain loop too.
Result<std::unique_ptr<Loop>> Loop::create(Backend backend) {
  if (backend != Backend::plain) {
    auto loop = UringLoop::create();
    if (loop || backend == Backend::io_uring) return loop;
  }
  return PlainLoop::create();
}

}  // namespace microvm::sys
