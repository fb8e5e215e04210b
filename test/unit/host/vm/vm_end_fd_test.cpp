// The end of a Vm for who polls: whoever ends it, without a thread for each, and for good.
#include <doctest/doctest.h>
#include <poll.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "unit/host/session/pollable.hpp"
#include "unit/host/vm/fake_vm.hpp"

using namespace microvm;
using test::FakeHost;
using test::FakeVm;
using test::is_ready;
using test::TempDir;
using test::would_block;

namespace {

using Reason = wire::ExitEvent::Reason;

const CallLimits kEndPatience{.cancel = nullptr, .timeout = std::chrono::seconds(20)};

bool end_wakes(int fd) {
  pollfd ready{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&ready, 1, 20'000) == 1;
}

int end_fd(const Vm& vm) {
  const auto fd = vm.end_fd();
  REQUIRE_MESSAGE(fd, fd.error().message);
  return *fd;
}

size_t entries_of(const char* directory) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(directory),
                                           std::filesystem::directory_iterator()));
}

void meet(Vm& vm) {
  const auto met = vm.exec_collect({.argv = {"true"}}, {}, kEndPatience);
  REQUIRE_MESSAGE(met, met.error().message);
}

}  // namespace

TEST_CASE("vm end fd: readable for good once it has ended by itself, whatever was done with it") {
  for (const bool is_met : {false, true}) {
    TempDir dir;
    FakeHost host(dir.path());
    FakeVm fake(host);
    Vm vm(fake.attach(host));
    if (is_met) meet(vm);
    const int fd = end_fd(vm);
    CHECK_FALSE(is_ready(fd, POLLIN));
    CHECK(would_block(vm.try_wait()));
    fake.end({Reason::power_off, {}});
    REQUIRE(end_wakes(fd));
    const auto ending = vm.try_wait();
    REQUIRE_MESSAGE(ending, ending.error().message);
    CHECK(ending->end == VmEnd::powered_off);
    for (int i = 0; i < 3; i++) {
      uint64_t count = 0;
      CHECK(::read(fd, &count, sizeof count) == sizeof count);
      CHECK(is_ready(fd, POLLIN));
    }
    CHECK(vm.wait(kEndPatience)->end == VmEnd::powered_off);
    CHECK(vm.try_wait()->end == VmEnd::powered_off);
    const Vm copy = vm;
    CHECK(end_fd(copy) == fd);
  }
}

TEST_CASE("vm end fd: who asks after the end has it at once, or soon") {
  TempDir dir;
  FakeHost host(dir.path());
  FakeVm fake(host);
  Vm vm(fake.attach(host));
  fake.kill();
  CHECK(end_wakes(end_fd(vm)));
  CHECK(vm.try_wait()->end == VmEnd::killed);
  FakeVm other(host);
  Vm ended(other.attach(host));
  REQUIRE(ended.terminate());
  CHECK(is_ready(end_fd(ended), POLLIN));
  CHECK(ended.try_wait()->end == VmEnd::terminated);
}

TEST_CASE("vm end fd: not when it falls asleep, and then when another process ends it") {
  TempDir dir;
  FakeHost host(dir.path());
  FakeHost other(dir.path());
  FakeVm fake(host);
  Vm watches(fake.attach(host));
  Vm acts(fake.attach(other));
  meet(watches);
  meet(acts);
  const int fd = end_fd(watches);
  const auto slept = acts.suspend({}, kEndPatience);
  REQUIRE_MESSAGE(slept, slept.error().message);
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  CHECK(watches.info()->state == VmState::suspended);
  CHECK_FALSE(is_ready(fd, POLLIN));
  CHECK(would_block(watches.try_wait()));
  REQUIRE(acts.terminate(kEndPatience));
  REQUIRE(end_wakes(fd));
  CHECK(watches.try_wait()->end == VmEnd::terminated);
}

TEST_CASE("vm end fd: many cost one fd each, and no thread") {
  TempDir dir;
  FakeHost host(dir.path());
  std::vector<std::unique_ptr<FakeVm>> fakes;
  std::vector<Vm> vms;
  for (int i = 0; i < 20; i++) {
    fakes.push_back(std::make_unique<FakeVm>(host));
    vms.emplace_back(fakes.back()->attach(host));
  }
  for (Vm& vm : vms) meet(vm);
  const size_t fds = entries_of("/proc/self/fd");
  const size_t threads = entries_of("/proc/self/task");
  std::vector<pollfd> ends;
  for (const Vm& vm : vms) ends.push_back({.fd = end_fd(vm), .events = POLLIN, .revents = 0});
  for (int i = 0; i < 100; i++) {
    for (Vm& vm : vms) {
      end_fd(vm);
      CHECK(would_block(vm.try_wait()));
    }
  }
  CHECK(entries_of("/proc/self/fd") <= fds + vms.size() + 2);
  CHECK(entries_of("/proc/self/task") <= threads + host::Errands::kMaxThreads);
  for (size_t i = 0; i < vms.size(); i++) {
    fakes[i]->end({Reason::power_off, {}});
    REQUIRE(end_wakes(ends[i].fd));
    CHECK(vms[i].try_wait()->end == VmEnd::powered_off);
  }
}

TEST_CASE("vm end fd: after the Runtime has gone who asks still learns of it") {
  TempDir dir;
  FakeHost host(dir.path());
  FakeVm fake(host);
  FakeVm other(host);
  Vm vm(fake.attach(host));
  Vm watched(other.attach(host));
  CHECK(would_block(watched.try_wait()));
  host.core->stop_work();
  CHECK(would_block(vm.try_wait()));
  fake.end({Reason::power_off, {}});
  other.end({Reason::power_off, {}});
  for (Vm* ended : {&vm, &watched}) {
    REQUIRE(ended->wait(kEndPatience));
    CHECK(ended->try_wait()->end == VmEnd::powered_off);
    CHECK(is_ready(end_fd(*ended), POLLIN));
  }
}
