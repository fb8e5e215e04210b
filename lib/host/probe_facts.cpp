#include "host/probe_facts.hpp"

#include <algorithm>
#include <ctime>
#include <set>
#include <sstream>

#include "host/probe_base.hpp"

namespace microvm::host {
namespace {

// Set and read by way of two processes.
constexpr int64_t kWallToleranceNs = 1'000'000'000;
constexpr size_t kRandomDigits = 32;
constexpr size_t kMaxLine = 4096;

int64_t clock_ns(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return time.tv_sec * int64_t{1'000'000'000} + time.tv_nsec;
}

void add_wrong(std::string& wrong, bool is_wrong, const std::string& what) {
  if (is_wrong) wrong += (wrong.empty() ? "" : "; ") + what;
}

}  // namespace

int64_t host_now_ns() {
  return clock_ns(CLOCK_BOOTTIME);
}

Result<GuestFacts> ask_guest(Vm& vm, const Limits& limits) {
  GuestFacts facts;
  facts.wall_before_ns = clock_ns(CLOCK_REALTIME);
  facts.host_before_ns = host_now_ns();
  const auto told =
      vm.exec_collect({.argv = {kProbeProgram, "tell"}}, {.max_bytes = kMaxLine}, limits.rest());
  facts.host_after_ns = host_now_ns();
  facts.wall_after_ns = clock_ns(CLOCK_REALTIME);
  if (!told) return base::fail(told.error());
  std::istringstream words(told->out);
  words >> facts.monotonic_ns >> facts.boot_ns >> facts.wall_ns >> facts.cpus >>
      facts.steps_backwards >> facts.random;
  if (words && facts.random.size() == kRandomDigits) return facts;
  return base::fail(ErrorCode::guest_failed,
                    "the probe's program in the guest did not answer: " + told->status.message);
}

int64_t wall_error_ns(const GuestFacts& facts) {
  return std::max(
      {int64_t{0}, facts.wall_before_ns - facts.wall_ns, facts.wall_ns - facts.wall_after_ns});
}

std::string in_ms(int64_t ns) {
  return std::to_string(ns / 1'000'000) + " ms";
}

std::string find_wrong_clones(const std::vector<GuestFacts>& clones, uint32_t vcpus) {
  std::set<std::string> random;
  std::string wrong;
  for (const GuestFacts& each : clones) random.insert(each.random);
  const auto any = [&](auto&& is_wrong) { return std::ranges::any_of(clones, is_wrong); };
  add_wrong(wrong, random.size() != clones.size(), "two clones had the same random numbers");
  add_wrong(wrong, any([](const GuestFacts& e) { return wall_error_ns(e) > kWallToleranceNs; }),
            "a wall clock is too far off");
  add_wrong(wrong, any([](const GuestFacts& e) { return e.steps_backwards > 0; }),
            "a clock went backwards between vCPUs");
  add_wrong(wrong, any([&](const GuestFacts& e) { return e.cpus != vcpus; }),
            "a guest did not see its vCPUs");
  return wrong;
}

// The monotonic clock stands while the guest does, and never goes back.
std::string find_wrong_clocks(const GuestFacts& before, const GuestFacts& after, int64_t slept_ns) {
  const int64_t passed = after.monotonic_ns - before.monotonic_ns;
  const int64_t awake = after.host_after_ns - before.host_before_ns - slept_ns;
  std::string wrong;
  add_wrong(wrong, passed < 0, "the monotonic clock went back by " + in_ms(-passed));
  add_wrong(wrong, passed > awake + slept_ns / 2,
            "the monotonic clock went on by " + in_ms(passed - awake) + " while the guest slept");
  add_wrong(wrong, wall_error_ns(after) > kWallToleranceNs,
            "the wall clock is " + in_ms(wall_error_ns(after)) + " off");
  add_wrong(wrong, after.steps_backwards > 0, "the clock went backwards between vCPUs");
  add_wrong(wrong, after.random == before.random, "random numbers came twice");
  return wrong;
}

}  // namespace microvm::host
