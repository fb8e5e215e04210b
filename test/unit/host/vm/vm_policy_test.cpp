// An idle policy that a resume brings, of a Vm that runs already: what is carried out and recorded.
#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <thread>

#include "host/saved/change_lock.hpp"
#include "host/saved/vm_directory.hpp"
#include "unit/host/vm/fake_vm.hpp"

using namespace microvm;
using std::chrono::milliseconds;
using test::FakeHost;
using test::FakeVm;
using test::TempDir;

namespace {

const CallLimits kInTime{.cancel = nullptr, .timeout = std::chrono::seconds(20)};

struct Policed {
  TempDir dir;
  FakeHost host{dir.path()};
  FakeVm fake{host};
  Vm vm{fake.attach(host)};

  [[nodiscard]] IdlePolicy recorded() const {
    const auto record = host::read_record(fake.dir());
    REQUIRE_MESSAGE(record, record.error().message);
    return record->idle;
  }
  void use(const IdlePolicy& policy) {
    const auto resumed = vm.resume({.idle = policy}, kInTime);
    REQUIRE_MESSAGE(resumed, resumed.error().message);
  }
};

}  // namespace

TEST_CASE("vm policy: it is recorded and carried out, also when the guest runs already") {
  Policed t;
  IdlePolicy policy;
  policy.lifetime = milliseconds(100);
  t.use(policy);
  CHECK(t.recorded() == policy);
  CHECK(t.host.told.wait_for(VmEvent::Kind::terminated, 1));
  CHECK(t.host.told.of(VmEvent::Kind::terminated)[0].cause == kCauseLifetime);
}

TEST_CASE("vm policy: another one takes its place, and one without times ends it") {
  Policed t;
  IdlePolicy policy;
  policy.lifetime = milliseconds(1000);
  t.use(policy);
  SUBCASE("none") {
    t.use({});
  }
  SUBCASE("a longer one") {
    policy.lifetime = std::chrono::hours(1);
    t.use(policy);
  }
  std::this_thread::sleep_for(milliseconds(1700));
  CHECK(t.vm.info()->state == VmState::running);
}

TEST_CASE("vm policy: without one the recorded one stays, and is not begun by who only asks") {
  Policed t;
  IdlePolicy policy;
  policy.lifetime = std::chrono::hours(1);
  policy.cpu_threshold = 1.0 / 3;  // rounded where it is written
  t.use(policy);
  const IdlePolicy before = t.recorded();
  REQUIRE(t.vm.resume({}, kInTime));
  CHECK(t.recorded() == before);
  const FakeHost other(t.dir.path());
  const auto attached = t.fake.attach(other);
  REQUIRE(Vm(attached).resume({}, kInTime));
  CHECK_FALSE(attached->idle_target);
}

TEST_CASE("vm policy: handles of other processes find what was recorded since") {
  Policed t;
  const FakeHost other(t.dir.path());
  Vm elsewhere(t.fake.attach(other));
  IdlePolicy policy;
  policy.auto_resume = false;
  REQUIRE(elsewhere.resume({.idle = policy}, kInTime));
  REQUIRE(elsewhere.suspend({}, kInTime));
  const auto refused = t.vm.exec_collect({.argv = {"true"}}, {}, kInTime);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::busy);
}

// The monitor waits for a change under way, in which the policy that it acts for is replaced.
TEST_CASE("vm policy: one that is replaced while the monitor acts for it does nothing any more") {
  Policed t;
  const auto impl = t.fake.attach(t.host);
  Vm vm(impl);
  IdlePolicy policy;
  SUBCASE("it would end it") {
    policy.lifetime = milliseconds(500);
  }
  SUBCASE("it would suspend it") {
    policy.idle_after = milliseconds(500);
  }
  REQUIRE(vm.resume({.idle = policy}, kInTime));
  auto held = host::hold_change(t.fake.dir(), host::Limits(kInTime), "test");
  REQUIRE(held);
  policy.lifetime = policy.idle_after = std::chrono::hours(1);
  std::optional<Result<void>> replaced;
  std::jthread replaces([&] { replaced = vm.resume({.idle = policy}, kInTime); });
  std::this_thread::sleep_for(milliseconds(1500));
  held->reset();
  replaces.join();
  CHECK(*replaced);
  std::this_thread::sleep_for(milliseconds(500));
  CHECK(vm.info()->state == VmState::running);
  CHECK(t.fake.captures == 0);
}

// What was read before it does not come back.
TEST_CASE("vm policy: one that is read again while it is replaced does not take its place") {
  Policed t;
  const auto impl = t.fake.attach(t.host);
  std::atomic<bool> enough = false;
  std::vector<std::jthread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!enough) impl->reread_policy();
    });
  }
  int wrong = 0;
  for (int i = 1; i <= 50; ++i) {
    IdlePolicy policy;
    policy.lifetime = std::chrono::hours(i);
    REQUIRE(impl->replace_policy(policy));
    for (int look = 0; look < 10; ++look) {
      if (impl->idle_policy() != policy) ++wrong;
      std::this_thread::yield();
    }
  }
  enough = true;
  CHECK(wrong == 0);
}

TEST_CASE("vm policy: one that can not be written down is refused, and nothing changes") {
  Policed t;
  const IdlePolicy before = t.recorded();
  IdlePolicy policy;
  SUBCASE("a negative time") {
    policy.idle_after = milliseconds(-1);
  }
  SUBCASE("no number") {
    policy.cpu_threshold = std::nan("");
  }
  SUBCASE("more than any host has") {
    policy.cpu_threshold = 1e30;
  }
  const auto refused = t.vm.resume({.idle = policy}, kInTime);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::invalid_argument);
  CHECK(t.recorded() == before);
}
