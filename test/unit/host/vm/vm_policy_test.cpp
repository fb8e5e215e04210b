// An idle policy that a resume brings, of a Vm that runs already: what is carried out and recorded.
#include <doctest/doctest.h>

#include <cmath>
#include <thread>

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
