// The judgements of the deep probe, and what it leaves behind.
#include <doctest/doctest.h>

#include <fstream>
#include <thread>

#include "host/probe_base.hpp"
#include "host/probe_facts.hpp"
#include "host/probe_scratch.hpp"
#include "microvm/probe.hpp"
#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

constexpr int64_t kSecond = 1'000'000'000;

GuestFacts facts(const std::string& random, int64_t at) {
  return {.monotonic_ns = 100 * kSecond + at,
          .boot_ns = 100 * kSecond + at,
          .wall_ns = 5000 * kSecond + at,
          .cpus = 2,
          .random = random,
          .host_before_ns = 7 * kSecond + at - 1000,
          .host_after_ns = 7 * kSecond + at + 1000,
          .wall_before_ns = 5000 * kSecond + at - 1000,
          .wall_after_ns = 5000 * kSecond + at + 1000};
}

// Two seconds later, of which it slept one.
GuestFacts woken() {
  GuestFacts after = facts("b", 2 * kSecond);
  after.monotonic_ns -= kSecond;
  return after;
}

}  // namespace

TEST_CASE("deep probe: clones are right, or it is said what is wrong with them") {
  CHECK(find_wrong_clones({facts("a", 0), facts("b", 1), facts("c", 2)}, 2).empty());
  CHECK(find_wrong_clones({facts("a", 0), facts("b", 1), facts("a", 2)}, 2) ==
        "two clones had the same random numbers");
  GuestFacts wrong = facts("b", 0);
  wrong.wall_ns -= 3 * kSecond;
  CHECK(wall_error_ns(wrong) == 3 * kSecond - 1000);
  CHECK(find_wrong_clones({facts("a", 0), wrong}, 2) == "a wall clock is too far off");
  wrong = facts("b", 0);
  wrong.steps_backwards = 1;
  wrong.cpus = 1;
  CHECK(find_wrong_clones({wrong}, 2) ==
        "a clock went backwards between vCPUs; a guest did not see its vCPUs");
}

TEST_CASE("deep probe: the monotonic clock stands while a guest sleeps") {
  const GuestFacts before = facts("a", 0);
  CHECK(find_wrong_clocks(before, woken(), kSecond).empty());
  CHECK(find_wrong_clocks(before, facts("b", 2 * kSecond), kSecond) ==
        "the monotonic clock went on by 999 ms while the guest slept");
  GuestFacts after = woken();
  after.monotonic_ns = before.monotonic_ns - kSecond / 2;
  CHECK(find_wrong_clocks(before, after, kSecond) == "the monotonic clock went back by 500 ms");
  after = woken();
  after.wall_ns += 2 * kSecond;
  CHECK(find_wrong_clocks(before, after, kSecond) == "the wall clock is 1999 ms off");
  after = woken();
  after.random = before.random;
  CHECK(find_wrong_clocks(before, after, kSecond) == "random numbers came twice");
}

TEST_CASE("deep probe: a report has no paths and no ids in it") {
  CHECK(without_names("open /home/anna/vms/x: no such file") == "open (path): no such file");
  CHECK(without_names("microvm 0123456789ab: gone (/tmp/y)") == "microvm (id): gone ((path))");
  CHECK(without_names("/dev/kvm cannot run \"/home/b\"") == "/dev/kvm cannot run \"(path)\"");
  CHECK(without_names("at 1 / 2, 64-bit ring 0: wrong") == "at 1 / 2, 64-bit ring 0: wrong");
  CHECK(without_names("").empty());
}

TEST_CASE("deep probe: its directory is gone at its end, with what is in it") {
  const test::TempDir parent;
  {
    auto scratch = Scratch::make(parent.path());
    REQUIRE(scratch);
    fs::create_directories(*scratch / "data" / "vms");
    std::ofstream(*scratch / "file") << "x";
    const Scratch moved = std::move(*scratch);
    CHECK_FALSE(fs::is_empty(parent.path()));
  }
  CHECK(fs::is_empty(parent.path()));
  CHECK_FALSE(Scratch::make(parent / "missing"));
}

TEST_CASE("deep probe: cancelled before it begins it does nothing and leaves nothing") {
  const test::TempDir parent;
  CancelToken cancel;
  cancel.cancel();
  const auto report =
      deep_probe({.data_dir = parent / "data", .scratch_dir = parent.path()}, {&cancel, {}});
  REQUIRE_FALSE(report);
  CHECK(report.error().code == ErrorCode::cancelled);
  CHECK(fs::is_empty(parent.path()));
}
