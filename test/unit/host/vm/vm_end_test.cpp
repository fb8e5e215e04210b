// Who is told that a Vm has ended, by whom, and how often.
#include <doctest/doctest.h>

#include <thread>

#include "host/saved/change_lock.hpp"
#include "host/store/event_log.hpp"
#include "unit/host/vm/fake_vm.hpp"

using namespace microvm;
using test::FakeHost;
using test::FakeVm;
using test::TempDir;

namespace {

using Kind = VmEvent::Kind;
using Reason = wire::ExitEvent::Reason;

const CallLimits kInTime{.cancel = nullptr, .timeout = std::chrono::seconds(20)};

void reach(Vm& vm) {
  const auto reached = vm.exec_collect({.argv = {"true"}}, {}, kInTime);
  REQUIRE_MESSAGE(reached, reached.error().message);
}

// Of all who have the data directory open, and by its log.
size_t times_told(const FakeHost& first, const FakeHost& second) {
  return first.told.of(Kind::terminated).size() + second.told.of(Kind::terminated).size();
}

size_t times_logged(const FakeHost& host) {
  size_t count = 0;
  auto reader = host::EventReader::open(host.core->store.data_dir(), false);
  REQUIRE(reader);
  while (const auto event = reader->next()->event) count += event->kind == Kind::terminated ? 1 : 0;
  return count;
}

// Time for those who should not tell to do so.
void let_others_look() {
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
}

}  // namespace

TEST_CASE("vm end: one that ends by itself is told at once, to whom it matters, with the reason") {
  struct End {
    std::function<void(FakeVm&)> act;
    const char* detail;
    VmEnd end;
  };
  const End ends[] = {
      {[](FakeVm& vm) { vm.end({Reason::power_off, {}}); }, "the guest powered off",
       VmEnd::powered_off},
      {[](FakeVm& vm) { vm.end({Reason::panic, "Kernel panic: x"}); },
       "the guest's kernel panicked: Kernel panic: x", VmEnd::panicked},
      {[](FakeVm& vm) { vm.kill(); }, "its worker was killed", VmEnd::killed},
      {[](FakeVm& vm) { vm.end_slowly({Reason::reset, {}}); }, "the guest reset itself",
       VmEnd::reset},
  };
  for (const End& end : ends) {
    INFO(end.detail);
    TempDir dir;
    FakeHost host(dir.path());
    FakeVm fake(host);
    Vm vm(fake.attach(host));
    reach(vm);
    end.act(fake);
    REQUIRE(host.told.wait_for(Kind::terminated, 1));
    const auto told = host.told.of(Kind::terminated);
    CHECK(told[0].vm_id == fake.id());
    CHECK(told[0].cause == kCauseItself);
    CHECK(told[0].detail == end.detail);
    CHECK(told[0].end == end.end);
    // terminate() has nothing more to tell.
    CHECK(vm.terminate());
    let_others_look();
    CHECK(host.told.of(Kind::terminated).size() == 1);
    CHECK(times_logged(host) == 1);
  }
}

TEST_CASE("vm end: of many handles in several processes one tells") {
  TempDir dir;
  FakeHost host(dir.path());
  FakeHost other(dir.path());
  FakeVm fake(host);
  std::vector<Vm> vms;
  for (int i = 0; i < 8; ++i) vms.emplace_back(fake.attach(i % 2 == 0 ? host : other));
  for (Vm& vm : vms) reach(vm);
  fake.end({Reason::power_off, {}});
  for (int i = 0; i < 2000 && times_told(host, other) == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  let_others_look();
  for (Vm& vm : vms) CHECK(vm.info()->state == VmState::terminated);
  CHECK(times_told(host, other) == 1);
  CHECK(times_logged(host) == 1);
}

TEST_CASE("vm end: who ends it tells, with the cause, and nobody who looks on") {
  TempDir dir;
  FakeHost host(dir.path());
  FakeHost other(dir.path());
  FakeVm fake(host);
  const auto ends = fake.attach(host);
  Vm looks_on(fake.attach(other));
  reach(looks_on);
  CHECK(ends->terminate(std::string(kCauseIdle)));
  CHECK(looks_on.info()->state == VmState::terminated);
  let_others_look();
  REQUIRE(host.told.of(Kind::terminated).size() == 1);
  CHECK(host.told.of(Kind::terminated)[0].cause == kCauseIdle);
  CHECK(other.told.of(Kind::terminated).empty());
  CHECK(looks_on.terminate());
  CHECK(times_told(host, other) == 1);
}

TEST_CASE("vm end: while somebody changes it the end is his to tell; when he dies, another's") {
  TempDir dir;
  FakeHost host(dir.path());
  FakeVm fake(host);
  Vm vm(fake.attach(host));
  reach(vm);
  auto hold = host::hold_change(fake.dir(), host::Limits({}), "test");
  REQUIRE(hold);
  fake.end({Reason::terminated, {}});
  let_others_look();
  CHECK(host.told.of(Kind::terminated).empty());
  hold->reset();
  REQUIRE(host.told.wait_for(Kind::terminated, 1));
  CHECK(host.told.of(Kind::terminated)[0].cause == kCauseCall);
}

TEST_CASE("vm end: one that nobody had in use is told of when somebody asks") {
  TempDir dir;
  FakeHost host(dir.path());
  FakeVm fake(host);
  fake.end({Reason::power_off, {}});
  Vm vm(fake.attach(host));
  CHECK(vm.info()->state == VmState::terminated);
  REQUIRE(host.told.wait_for(Kind::terminated, 1));
  CHECK(host.told.of(Kind::terminated)[0].detail == "the guest powered off");
}

TEST_CASE("vm end: one whose owner died is told of by who opens the directory") {
  TempDir dir;
  FakeHost host(dir.path());
  FakeVm fake(host, {.dies_with_owner = true, .auto_resume = true, .hooks = {}});
  fake.end({Reason::terminated, "the owner went away"});
  const FakeHost later(dir.path());
  const auto told = later.told.of(Kind::terminated);
  REQUIRE(told.size() == 1);
  CHECK(told[0].vm_id == fake.id());
  CHECK(told[0].cause == kCauseOwner);
  CHECK_FALSE(std::filesystem::exists(fake.dir()));
  const FakeHost latest(dir.path());
  CHECK(latest.told.of(Kind::terminated).empty());
}

TEST_CASE("vm end: one that falls asleep has not ended") {
  TempDir dir;
  FakeHost host(dir.path());
  FakeVm fake(host);
  Vm vm(fake.attach(host));
  reach(vm);
  REQUIRE(vm.suspend({}, kInTime));
  let_others_look();
  CHECK(host.told.of(Kind::terminated).empty());
}
