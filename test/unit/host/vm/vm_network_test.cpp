// A Vm's network as its handles tell of it, and change it.
#include <doctest/doctest.h>

#include <thread>

#include "host/network/rule_text.hpp"
#include "host/network/setup_file.hpp"
#include "unit/host/network/fake_net.hpp"
#include "unit/host/vm/fake_vm.hpp"

using namespace microvm;
using test::FakeHost;
using test::FakeNet;
using test::FakeVm;
using test::TempDir;

namespace {

const CallLimits kInTime{.cancel = nullptr, .timeout = std::chrono::seconds(20)};
const FakeVm::Options kWithNetwork{.network = NetworkMode::user};

struct Fixture {
  explicit Fixture(const NetworkPolicy& policy = {}) {
    REQUIRE(host::write_new_setup(fake.dir(), *host::compile_policy(policy)));
  }
  TempDir dir;
  FakeHost host{dir.path()};
  FakeVm fake{host, kWithNetwork};
  Vm vm{fake.attach(host)};
};

wire::FlowRecord flow_to(uint16_t port) {
  wire::FlowRecord record;
  record.remote.port = port;
  return record;
}

}  // namespace

TEST_CASE("network of a vm: policy, and counters once its process runs") {
  Fixture f({.rules = {"allow tcp *:443"}});
  auto info = f.vm.network(kInTime);
  REQUIRE(info);
  CHECK(info->mode == NetworkMode::user);
  CHECK(info->policy.rules == std::vector<std::string>{"allow tcp *:443"});
  CHECK_FALSE(info->is_running);
  FakeNet net(f.fake.dir());
  net.status.flows = 3;
  info = f.vm.network(kInTime);
  REQUIRE(info);
  CHECK(info->is_running);
  CHECK(info->counters.flows == 3);
}

TEST_CASE("network of a vm: a policy set by one handle is another's, and its process's") {
  Fixture f;
  const FakeHost other(f.dir.path());
  Vm seen_by_other(f.fake.attach(other));
  const NetworkPolicy policy{.otherwise = NetworkDefault::deny, .rules = {"allow example.org"}};
  REQUIRE(f.vm.set_network_policy(policy, kInTime));  // it does not run yet
  CHECK(seen_by_other.network(kInTime)->policy == policy);
  const FakeNet net(f.fake.dir());
  REQUIRE(seen_by_other.set_network_policy({.rules = {"deny *"}}, kInTime));
  REQUIRE(net.setup());
  CHECK(host::policy_of(*net.setup()).rules == std::vector<std::string>{"deny *"});
  CHECK(f.vm.network(kInTime)->policy.rules == std::vector<std::string>{"deny *"});
}

TEST_CASE("network of a vm: a wrong policy changes nothing") {
  Fixture f({.rules = {"deny *"}});
  const auto done = f.vm.set_network_policy({.rules = {"allow *", "allow 10.0.0.300"}}, kInTime);
  REQUIRE_FALSE(done);
  CHECK(done.error().code == ErrorCode::invalid_argument);
  CHECK(done.error().message.starts_with("network rule 2 (allow 10.0.0.300), character 7: "));
  CHECK(f.vm.network(kInTime)->policy.rules == std::vector<std::string>{"deny *"});
}

TEST_CASE("network of a vm: one without says so") {
  const TempDir dir;
  FakeHost host(dir.path());
  FakeVm fake(host);
  Vm vm(fake.attach(host));
  CHECK(vm.network(kInTime)->mode == NetworkMode::none);
  CHECK(vm.set_network_policy({}, kInTime).error().code == ErrorCode::unsupported);
  CHECK(vm.flows(kInTime).error().code == ErrorCode::unsupported);
}

TEST_CASE("network of a vm: forks get its mode and policy, and no tap") {
  Fixture f({.rules = {"deny private"}});
  const auto same = f.fake.attach(f.host)->network_of_forks();
  REQUIRE(same);
  // What its image has a device for. Asked for by name, a host that can not do it would refuse
  // forks of what it runs.
  CHECK(same->mode == NetworkMode::automatic);
  CHECK(same->policy.rules == std::vector<std::string>{"deny private"});
  FakeVm with_tap(f.host, {.network = NetworkMode::tap});
  CHECK(with_tap.attach(f.host)->network_of_forks().error().code == ErrorCode::invalid_argument);
}

TEST_CASE("flows of a vm: over one process and the next, until it ends") {
  Fixture f;
  auto flows = f.vm.flows(kInTime);
  REQUIRE(flows);
  CHECK(flows->try_next().error().code == ErrorCode::would_block);
  for (const uint16_t port : {uint16_t{80}, uint16_t{443}}) {
    FakeNet net(f.fake.dir());
    std::thread teller([&] {
      if (net.wait_for_followers(1)) net.tell(flow_to(port));
    });
    const auto flow = flows->next(kInTime);
    teller.join();
    REQUIRE_MESSAGE(flow, flow.error().message);
    REQUIRE(*flow);
    CHECK((**flow).port == port);
  }
  CHECK(flows->try_next().error().code == ErrorCode::would_block);
  f.fake.end({wire::ExitEvent::Reason::power_off, {}});
  const auto last = flows->next(kInTime);
  REQUIRE_MESSAGE(last, last.error().message);
  CHECK_FALSE(*last);
}

TEST_CASE("flows of a vm: the limits lose nothing, a refusal is told") {
  Fixture f;
  FakeNet net(f.fake.dir());
  auto flows = f.vm.flows(kInTime);
  REQUIRE(flows);
  REQUIRE(net.wait_for_followers(1));
  const CallLimits soon{.cancel = nullptr, .timeout = std::chrono::milliseconds(20)};
  CHECK(flows->next(soon).error().code == ErrorCode::deadline_exceeded);
  net.tell(flow_to(22));
  CHECK((**flows->next(kInTime)).port == 22);
  net.answer_with(wire::encode_net(
      wire::NetError{static_cast<uint32_t>(ErrorCode::busy), "8 follow it already"}));
  auto refused = f.vm.flows(kInTime);
  const auto error = refused ? refused->next(kInTime).error() : refused.error();
  CHECK(error.code == ErrorCode::busy);
}

TEST_CASE("events of a vm: its network went away") {
  Fixture f;
  REQUIRE(f.vm.exec_collect({.argv = {"true"}}, {}, kInTime));
  f.fake.tell_network({.what = wire::NetworkEvent::What::up});
  f.fake.tell_network(
      {.what = wire::NetworkEvent::What::ended, .message = "microvm-net was killed"});
  REQUIRE(f.host.told.wait_for(VmEvent::Kind::network_failed, 1));
  const auto told = f.host.told.of(VmEvent::Kind::network_failed);
  CHECK(told.size() == 1);
  CHECK(told[0].detail == "microvm-net was killed");
  CHECK(std::string(vm_event_name(told[0].kind)) == "network_failed");
}
