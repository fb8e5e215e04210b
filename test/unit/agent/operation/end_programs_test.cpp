#include "agent/operation/end_programs.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>
#include <string>

#include "suite/skip.hpp"
#include "unit/agent/operation_client.hpp"
#include "unit/agent/test_cgroup.hpp"

namespace microvm::agent {
namespace {

std::string programs_in(const std::string& cgroup) {
  std::ifstream list(cgroup + "/cgroup.procs");
  return {std::istreambuf_iterator<char>(list), {}};
}

bool ends_programs(Guest& guest) {
  OperationClient client(guest);
  client.send(FrameType::end_programs);
  const auto frame = client.read();
  return frame && frame->type == FrameType::ok;
}

// A program in `nested`, a group of its own, ends with the others, and the command does not.
void check_nested_ends(const TestCgroup& cgroup, const std::string& nested) {
  {
    TestGuest guest;
    guest.end_machine = [](Guest&) {};
    REQUIRE(guest.freezer.adopt_cgroup(cgroup.open()));
    OperationClient command(guest);
    send_exec(command, {.argv = {"sleep", "974"}}, FrameType::start);
    REQUIRE(command.read());
    REQUIRE(mkdir(nested.c_str(), 0755) == 0);
    const auto outcome = exec(
        guest, {.argv = {"sh", "-c",
                         "sleep 975 >/dev/null 2>&1 & echo $! > " + nested + "/cgroup.procs"}});
    REQUIRE(outcome.exited);
    REQUIRE_FALSE(programs_in(nested).empty());
    CHECK(ends_programs(guest));
    CHECK(programs_in(nested).empty());
    CHECK_FALSE(programs_in(cgroup.command()).empty());
    CHECK(guest.command.running());
    guest.command.signal(SIGKILL);
  }
  CHECK(eventually([&] { return rmdir(nested.c_str()) == 0; }));
}

}  // namespace

TEST_SUITE("agent end programs") {
  TEST_CASE("what programs have left running is gone, whoever its parent is now") {
    const auto cgroup = TestCgroup::make();
    if (!cgroup) SKIP_CASE("needs a cgroup v2 to make others in");
    TestGuest guest;
    REQUIRE(guest.freezer.adopt_cgroup(cgroup->open()));
    const auto outcome = exec(guest, {.argv = {"sh", "-c",
                                               "sleep 971 >/dev/null 2>&1 & "
                                               "(setsid sh -c 'trap \"\" TERM HUP; sleep 972 & "
                                               "sleep 973' >/dev/null 2>&1 &); exit 0"}});
    REQUIRE(outcome.exited);
    REQUIRE_FALSE(programs_in(cgroup->programs()).empty());
    CHECK(ends_programs(guest));
    CHECK(programs_in(cgroup->programs()).empty());
    CHECK(ends_programs(guest));  // with none there
  }

  TEST_CASE("what hides in a cgroup of its own, too; the image's command is left alone") {
    const auto cgroup = TestCgroup::make();
    if (!cgroup) SKIP_CASE("needs a cgroup v2 to make others in");
    SUBCASE("below theirs") {
      check_nested_ends(*cgroup, cgroup->programs() + "/nested");
    }
    SUBCASE("beside theirs") {
      check_nested_ends(*cgroup, cgroup->programs() + "/../nested");
    }
  }
}

}  // namespace microvm::agent
