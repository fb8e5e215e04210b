#include "examples/cli/standard_streams.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "unit/without_streams.hpp"

using microvm::test::holds_without_streams;

namespace {

bool is_dev_null(int fd) {
  struct stat status{};
  return ::fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3);
}

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

}  // namespace

TEST_CASE("cli: missing standard streams are /dev/null, others stay, nothing more is opened") {
  CHECK(holds_without_streams([] {
    const bool had = is_open(3);
    cli::open_missing_streams();
    return is_dev_null(0) && is_dev_null(1) && is_dev_null(2) && is_open(3) == had &&
           ::fcntl(1, F_GETFD) == 0;
  }));
  CHECK(holds_without_streams([] {
    if (::open("/proc/self/stat", O_RDONLY) != 0) return false;
    cli::open_missing_streams();
    return !is_dev_null(0) && is_dev_null(1) && is_dev_null(2);
  }));
}
