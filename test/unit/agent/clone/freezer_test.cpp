#include "agent/clone/freezer.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>

#include <cerrno>

#include "unit/agent/temporary_root.hpp"

namespace microvm::agent {

// Files that stand for a cgroup whose kernel never reports that all its programs stand. What real
// programs do: operation/freeze_test.cpp.
TEST_CASE("freezer: programs that do not stop in time are an error, and run as before") {
  TemporaryRoot cgroup;
  cgroup.write("cgroup.freeze", "0");
  cgroup.write("cgroup.events", "populated 1\nfrozen 0\n");
  Freezer freezer;
  REQUIRE(freezer.adopt_cgroup(base::Fd(fcntl(cgroup.fd(), F_DUPFD_CLOEXEC, 0))));
  freezer.thaw();
  const auto frozen = freezer.freeze();
  REQUIRE_FALSE(frozen);
  CHECK(frozen.error().error == ETIMEDOUT);
  CHECK(cgroup.read("cgroup.freeze").substr(0, 1) == "0");
  CHECK_FALSE(freezer.frozen());
  freezer.wait_until_running();  // at once

  cgroup.write("cgroup.events", "populated 1\nfrozen 1\n");
  CHECK(freezer.freeze());
  CHECK(cgroup.read("cgroup.freeze").substr(0, 1) == "1");
  CHECK(freezer.frozen());
}

}  // namespace microvm::agent
