#include "host/saved/change_lock.hpp"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "unit/file_calls.hpp"
#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;
using std::chrono::milliseconds;

TEST_CASE("change lock: one has it, others wait for its last copy") {
  const test::TempDir dir;
  CHECK_FALSE(is_change_held(dir.path()));
  auto hold = hold_change(dir.path(), Limits({}), "change");
  REQUIRE(hold);
  const ChangeHold copy = *hold;
  hold->reset();
  CHECK(is_change_held(dir.path()));
  const auto late = hold_change(dir.path(), Limits({}, milliseconds(30)), "change");
  REQUIRE_FALSE(late);
  CHECK(late.error().code == ErrorCode::deadline_exceeded);
}

TEST_CASE("change lock: who waits gets it when it is free") {
  const test::TempDir dir;
  auto hold = hold_change(dir.path(), Limits({}), "change");
  REQUIRE(hold);
  int attempts = 0;
  test::FileCalls calls(dir.path());
  calls.before_each([&](const test::FileCall& call) {
    if (call.what == "lock" && call.file == "change" && ++attempts == 3) hold->reset();
  });
  CHECK(hold_change(dir.path(), Limits({}, std::chrono::seconds(20)), "change"));
  CHECK(attempts == 3);
}

TEST_CASE("change lock: a wait for it can be cancelled") {
  const test::TempDir dir;
  const auto hold = hold_change(dir.path(), Limits({}), "change");
  CancelToken token;
  token.cancel();
  const auto cancelled = hold_change(dir.path(), Limits({&token, {}}), "change");
  REQUIRE_FALSE(cancelled);
  CHECK(cancelled.error().code == ErrorCode::cancelled);
}

TEST_CASE("change lock: it ends with the process that has it") {
  const test::TempDir dir;
  const pid_t child = ::fork();
  if (child == 0) ::_exit(hold_change(dir.path(), Limits({}), "change") ? 0 : 1);
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK_FALSE(is_change_held(dir.path()));
}

TEST_CASE("change lock: it ends when it is dropped, whatever a forked child has a copy of") {
  const test::TempDir dir;
  auto hold = hold_change(dir.path(), Limits({}), "change");
  REQUIRE(hold);
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  hold->reset();
  CHECK_FALSE(is_change_held(dir.path()));
  CHECK(hold_change(dir.path(), Limits({}, std::chrono::seconds(20)), "change"));
  ::kill(child, SIGKILL);
  CHECK(::waitpid(child, nullptr, 0) == child);
}

TEST_CASE("change lock: of a vm that was removed nobody has to wait") {
  const test::TempDir dir;
  CHECK(hold_change(dir.path() / "gone", Limits({}), "change"));
  CHECK_FALSE(is_change_held(dir.path() / "gone"));
}
