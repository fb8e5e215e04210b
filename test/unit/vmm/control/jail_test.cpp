#include "vmm/control/jail.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "sys/page_map_scan.hpp"
#include "sys/socket.hpp"
#include "vmm/memory_file.hpp"

using namespace microvm;
using namespace microvm::test;

namespace {

// In a child that is locked down first: the filter is for good.
template <class Condition>
bool holds_in_jail(Condition condition) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) ::_exit(vmm::control::lock_down() && condition() ? 0 : 1);
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return status == 0;
}

bool refused(int result) {
  return result < 0 && errno == EPERM;
}

}  // namespace

TEST_CASE("jail: an fd is copied and made non-blocking, but sends no signals") {
  const auto pair = sys::stream_pair();
  REQUIRE(pair);
  const int fd = pair->first.get();
  const pid_t other = ::getppid();
  CHECK(holds_in_jail([&] { return refused(::fcntl(fd, F_SETOWN, other)); }));
  CHECK(holds_in_jail([&] { return refused(::fcntl(fd, F_SETSIG, SIGKILL)); }));
  CHECK(holds_in_jail([&] { return sys::set_nonblocking(fd).has_value(); }));
  CHECK(holds_in_jail([&] { return ::fcntl(fd, F_DUPFD_CLOEXEC, 0) >= 0; }));
}

TEST_CASE("jail: socket pairs are of the unix family") {
  int ends[2];
  CHECK(holds_in_jail([&] { return refused(::socketpair(AF_TIPC, SOCK_SEQPACKET, 0, ends)); }));
  CHECK(holds_in_jail([] { return sys::stream_pair().has_value(); }));
}

TEST_CASE("jail: of the file systems' ioctls there is the scan of the page map alone") {
  const base::Fd file = file_with({});
  int flags = 0;
  CHECK(holds_in_jail([&] { return refused(::ioctl(file.get(), FS_IOC_GETFLAGS, &flags)); }));
  CHECK(holds_in_jail([&] { return refused(::ioctl(file.get(), FS_IOC_SETFLAGS, &flags)); }));
  // No page map, but the file itself says so.
  CHECK(holds_in_jail([&] { return !refused(::ioctl(file.get(), sys::kPageMapScan, nullptr)); }));
}
