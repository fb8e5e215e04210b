// What can become of a case, one case for each: what the suites' main program makes of them is
// looked at in unit/suite/suite_test.cpp.
#include <doctest/doctest.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "suite/skip.hpp"

namespace {

// Outlives its case, with the pid on record where the test asks for it.
void leave_a_process() {
  const pid_t pid = ::fork();
  if (pid != 0) return;
  ::setsid();
  if (const char* record = std::getenv("SUITE_SAMPLE_PID")) std::ofstream(record) << ::getpid();
  for (;;) ::pause();
}

}  // namespace

TEST_CASE("passes") {
  CHECK(true);
}

TEST_CASE("fails") {
  CHECK(1 == 2);
}

TEST_CASE("throws") {
  throw std::runtime_error("thrown");
}

TEST_CASE("skips") {
  SKIP_CASE("needs what is not here");
}

TEST_CASE("skips after a failed check") {
  CHECK(1 == 2);
  SKIP_CASE("too late");
}

TEST_CASE("crashes") {
  ::raise(SIGSEGV);
}

TEST_CASE("is killed") {
  ::raise(SIGKILL);
}

TEST_CASE("exits") {
  std::exit(0);
}

TEST_CASE("leaves a file and a process, and hangs" * doctest::timeout(0.5)) {
  std::ofstream(std::filesystem::temp_directory_path() / "left-over") << "x";
  leave_a_process();
  for (;;) ::pause();
}

TEST_CASE("hangs, with signals blocked, in a fork as well" * doctest::timeout(0.5)) {
  sigset_t all;
  sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  ::fork();
  for (;;) ::pause();
}

TEST_CASE("passes after all that") {
  CHECK(true);
}
