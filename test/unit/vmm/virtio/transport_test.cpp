#include "vmm/virtio/transport.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include "unit/asleep.hpp"
#include "vmm/virtio/echo_device.hpp"
#include "vmm/virtio/mock_driver.hpp"

using namespace microvm;
using namespace microvm::test;
using namespace microvm::vmm::mmio;

namespace {

constexpr uint64_t kData = 0x100000;
constexpr uint64_t kFeatures =
    vmm::kFeatureVersion1 | vmm::kFeatureIndirectDesc | EchoDevice::kFeature;

template <class Bus>
struct Fixture : Bus {
  using Bus::transport;
  Fixture() {
    auto made = std::make_unique<EchoDevice>();
    echo = made.get();
    this->put(memory, *loop, std::move(made),
              [this](base::LogLevel, std::string_view line) { log.emplace_back(line); });
  }
  ~Fixture() { transport.reset(); }
  void start(uint64_t features = kFeatures) {
    start_driver(*transport, features, {&ring, &second});
    REQUIRE(status() == kRunning);
    echo->resets = 0;  // the driver's first
  }
  uint32_t status() { return read_register(*transport, kStatus); }
  void offer(uint16_t head) {
    ring.describe(head, {kData, 8, kWrite});
    ring.offer(head);
  }

  vmm::GuestMemory memory = make_memory();
  std::unique_ptr<sys::Loop> loop = std::move(*sys::Loop::create());
  MockRing ring{memory, 0x10000, 8};
  MockRing second{memory, 0x30000, 4};
  EchoDevice* echo = nullptr;
  std::vector<std::string> log;
};

}  // namespace

TEST_CASE_TEMPLATE("transport: the status goes forward only, and only as negotiated", Bus, OnMmio,
                   OnPci) {
  Fixture<Bus> t;
  const auto set = [&](uint32_t value) {
    write_register(*t.transport, kStatus, value);
    return t.status();
  };
  CHECK(set(kDriver) == 0);
  CHECK(set(kAcknowledge) == kAcknowledge);
  CHECK(set(kAcknowledge | kDriverOk) == kAcknowledge);
  CHECK(set(kAcknowledge | kDriver) == (kAcknowledge | kDriver));
  CHECK(set(kAcknowledge) == (kAcknowledge | kDriver));  // takes no bit back
  CHECK(set(kAcknowledge | kDriver | kNeedsReset) == (kAcknowledge | kDriver));

  SUBCASE("VERSION_1 is needed") {
    write_register(*t.transport, kDriverFeatures, EchoDevice::kFeature);
    CHECK(set(kAcknowledge | kDriver | kFeaturesOk) == (kAcknowledge | kDriver));
  }
  SUBCASE("a feature that was not offered") {
    negotiate(*t.transport, kFeatures | 1);
    CHECK(t.status() == (kAcknowledge | kDriver));
  }
  SUBCASE("features are frozen with FEATURES_OK, queues with DRIVER_OK") {
    t.start();
    write_register(*t.transport, kQueueSel, 0);
    write_register(*t.transport, kQueueDescLow, 4);
    t.offer(0);
    t.transport->kick(0);
    CHECK(t.echo->popped == 1);
    write_register(*t.transport, kDriverFeaturesSel, 0);
    write_register(*t.transport, kDriverFeatures, 0);
    CHECK(t.echo->host->has_feature(EchoDevice::kFeature));
    CHECK(t.echo->activations == 1);
    set(kRunning);
    CHECK(t.echo->activations == 1);
    CHECK(set(kRunning | kFailed) == (kRunning | kFailed));
  }
}

TEST_CASE_TEMPLATE("transport: queues cannot be set up before FEATURES_OK or while ready", Bus,
                   OnMmio, OnPci) {
  Fixture<Bus> t;
  set_up_queue(*t.transport, 0, t.ring.setup);
  CHECK(read_register(*t.transport, kQueueReady) == 0);
  negotiate(*t.transport, kFeatures);
  set_up_queue(*t.transport, 0, t.ring.setup);
  write_register(*t.transport, kQueueDescLow, 4);  // ignored, or DRIVER_OK would fail
  write_register(*t.transport, kStatus, kRunning);
  CHECK(t.status() == kRunning);
}

TEST_CASE_TEMPLATE("transport: a kick is served with one interrupt", Bus, OnMmio, OnPci) {
  Fixture<Bus> t;
  t.start();
  for (uint16_t head = 0; head < 5; ++head) {
    t.offer(head);
  }
  t.transport->kick(0);
  CHECK(t.ring.used_index() == 5);
  CHECK(t.irq.count == 1);
  CHECK(t.interrupts() == kUsedBuffer);
  t.acknowledge(kUsedBuffer);
  CHECK(t.interrupts() == 0);
  t.transport->kick(0);
  CHECK(t.irq.count == 1);
  t.offer(5);
  notify(*t.transport, 0);  // the way without ioeventfd
  notify(*t.transport, 7);
  CHECK(run_until(*t.loop, [&] { return t.ring.used_index() == 6; }));
  t.transport->kick(1);
  t.transport->kick(9);
}

TEST_CASE_TEMPLATE(
    "transport: one kick does one queue's worth of work, the rest comes in the next round", Bus,
    OnMmio, OnPci) {
  Fixture<Bus> t;
  t.start();
  for (uint16_t head = 0; head < 8; ++head) {
    t.offer(head);
  }
  t.transport->kick(0);
  CHECK(t.echo->popped == 8);
  for (uint16_t head = 0; head < 8; ++head) {
    t.offer(head);
  }
  t.loop->run_once(std::chrono::milliseconds(0));  // the re-posted kick
  CHECK(t.echo->popped == 16);
}

TEST_CASE_TEMPLATE("transport: a device that leaves buffers alone is not asked for ever", Bus,
                   OnMmio, OnPci) {
  Fixture<Bus> t;
  t.start(kFeatures | vmm::kFeatureEventIdx);
  t.second.describe(0, {kData, 8, kWrite});
  t.second.offer(0);
  t.transport->kick(1);
  CHECK(t.echo->process_calls == 2);
  CHECK(t.ring.used_index() == 0);
  vmm::Chain chain;  // later, when there is something to say
  const auto guard = t.echo->host->lock();
  REQUIRE(t.echo->host->pop(1, chain));
  t.echo->host->push(1, chain.head, 0);
  CHECK_FALSE(t.echo->host->pop(1, chain));
  CHECK(t.second.kick_event() == 1);  // asked for a kick on finding it empty
}

TEST_CASE_TEMPLATE("transport: a bad queue sets DEVICE_NEEDS_RESET, and a reset heals it", Bus,
                   OnMmio, OnPci) {
  Fixture<Bus> t;
  t.start();
  t.ring.offer(8);
  t.transport->kick(0);
  CHECK(t.status() == (kRunning | kNeedsReset));
  CHECK(t.transport->needs_reset());
  CHECK(t.interrupts() == kConfigChange);
  CHECK(t.irq.count == 1);
  REQUIRE(t.log.size() == 1);
  CHECK(t.log[0].find("virtio rng: a descriptor head is out of range") == 0);
  t.transport->kick(0);
  CHECK(t.irq.count == 1);

  write_register(*t.transport, kStatus, 0);
  CHECK(t.status() == 0);
  if (std::same_as<Bus, OnMmio>) CHECK(t.interrupts() == 0);
  CHECK(t.echo->resets == 1);
  CHECK_FALSE(t.transport->needs_reset());
  t.ring.wind_to(0);
  t.start();
  t.offer(0);
  t.transport->kick(0);
  CHECK(t.ring.take_used() == UsedElement{0, 1});
}

TEST_CASE_TEMPLATE("transport: a queue that cannot start", Bus, OnMmio, OnPci) {
  Fixture<Bus> t;
  t.ring.setup.descriptors = 0xd000'0000;
  start_driver(*t.transport, kFeatures, {&t.ring, &t.second});
  CHECK(t.status() == (kRunning | kNeedsReset));
  CHECK(t.echo->activations == 0);
  t.transport->kick(0);
  t.transport->kick(1);
  CHECK(t.echo->process_calls == 0);
}

TEST_CASE_TEMPLATE("transport: failures do not fill the log", Bus, OnMmio, OnPci) {
  Fixture<Bus> t;
  for (int i = 0; i < 100; ++i) {
    t.ring.wind_to(0);
    t.start();
    t.ring.offer(9);
    t.transport->kick(0);
  }
  CHECK(t.log.size() == 16);
}

TEST_CASE_TEMPLATE("transport: a reset waits for what is in flight", Bus, OnMmio, OnPci) {
  Fixture<Bus> t;
  t.start();
  t.echo->hold = true;
  t.offer(0);
  t.offer(1);
  t.transport->kick(0);
  CHECK_FALSE(t.transport->idle());
  std::atomic<bool> done = false;
  std::atomic<pid_t> vcpu_thread = 0;
  std::thread vcpu([&] {
    vcpu_thread = ::gettid();
    vcpu_thread.notify_one();
    write_register(*t.transport, kStatus, 0);
    done = true;
  });
  vcpu_thread.wait(0);
  wait_until_asleep(vcpu_thread);
  CHECK_FALSE(done);
  t.echo->release_all();
  vcpu.join();
  CHECK(t.status() == 0);
  CHECK(t.echo->resets == 1);
  t.loop->run_once(std::chrono::milliseconds(0));
  CHECK(t.ring.used_index() == 0);  // the ring is the guest's again
  CHECK(t.echo->resets == 1);
}

TEST_CASE_TEMPLATE("transport: a reset that cannot end in time ends when the I/O does", Bus, OnMmio,
                   OnPci) {
  Fixture<Bus> t;
  t.start();
  t.echo->hold = true;
  t.offer(0);
  t.transport->kick(0);
  write_register(*t.transport, kStatus, 0);
  CHECK((t.status() & kNeedsReset) != 0);
  write_register(*t.transport, kStatus, kAcknowledge);
  t.echo->release_all();
  CHECK(run_until(*t.loop, [&] { return t.status() == 0; }));
  CHECK(t.echo->resets == 1);
}

// PCI drivers have no way to stop one.
TEST_CASE("mmio: a queue that the driver stops is left alone once all of it is back") {
  Fixture<OnMmio> t;
  t.start();
  t.echo->hold = true;
  t.offer(0);
  t.transport->kick(0);
  write_register(*t.transport, kQueueSel, 0);
  const auto ready = [&] { return read_register(*t.transport, kQueueReady); };
  write_register(*t.transport, kQueueReady, 0);
  CHECK(ready() == 1);
  t.offer(1);
  t.transport->kick(0);
  CHECK(t.echo->popped == 1);
  t.echo->release_all();
  CHECK(run_until(*t.loop, [&] { return ready() == 0; }));
  CHECK(t.ring.used_index() == 1);  // shown before the queue reads as stopped
  t.transport->kick(0);
  CHECK(t.echo->popped == 1);
  CHECK(t.status() == kRunning);

  write_register(*t.transport, kQueueReady, 1);  // not without a reset
  CHECK(ready() == 0);
  write_register(*t.transport, kQueueSel, 1);
  CHECK(ready() == 1);
  write_register(*t.transport, kQueueReady, 0);  // nothing of it in flight
  CHECK(ready() == 0);
  write_register(*t.transport, kStatus, 0);
  t.ring.wind_to(0);
  t.start();
  t.echo->hold = false;
  t.offer(0);
  t.transport->kick(0);
  CHECK(t.ring.take_used() == UsedElement{0, 1});
}

TEST_CASE_TEMPLATE("transport: pause takes nothing new, resume finds lost kicks", Bus, OnMmio,
                   OnPci) {
  Fixture<Bus> t;
  t.start();
  t.echo->hold = true;
  t.offer(0);
  t.transport->kick(0);
  t.transport->pause();
  t.offer(1);
  t.transport->kick(0);
  CHECK(t.echo->popped == 1);
  CHECK_FALSE(t.transport->idle());
  state::Writer refused;
  CHECK(t.transport->save(refused, 0).error().code == ErrorCode::busy);
  t.echo->release_all();
  CHECK(run_until(*t.loop, [&] { return t.transport->idle(); }));
  CHECK(t.ring.used_index() == 1);
  t.echo->hold = false;
  t.transport->resume();
  CHECK(t.ring.used_index() == 2);
}

TEST_CASE_TEMPLATE("transport: the loop may outlive the transport", Bus, OnMmio, OnPci) {
  Fixture<Bus> t;
  t.start();
  t.offer(0);
  notify(*t.transport, 0);
  t.transport.reset();
  t.loop->run_once(std::chrono::milliseconds(0));
  CHECK(t.ring.used_index() == 0);
}
