// Kicks and interrupts of a driver that keeps several requests under way; time passes when the test
// says so.
#include <doctest/doctest.h>

#include <map>

#include "vmm/disk/forwarding_loop.hpp"
#include "vmm/virtio/echo_device.hpp"
#include "vmm/virtio/mmio_transport.hpp"
#include "vmm/virtio/mock_driver.hpp"

using namespace microvm;
using namespace microvm::test;
using namespace microvm::vmm::mmio;
using namespace std::chrono_literals;

namespace {

constexpr uint64_t kData = 0x100000;
constexpr uint64_t kFeatures = vmm::kFeatureVersion1 | vmm::kFeatureEventIdx | EchoDevice::kFeature;

// Short timers are for the ring's loop; these end by the test's word.
class HeldTimers final : public ForwardingLoop {
 public:
  using ForwardingLoop::ForwardingLoop;
  TimerId after(std::chrono::nanoseconds delay, std::function<void()> fire) override {
    CHECK(delay < 1ms);
    timers[++last_] = std::move(fire);
    return last_;
  }
  void cancel(TimerId id) override { timers.erase(id); }
  [[nodiscard]] Backend backend() const override { return claimed; }
  void let_time_pass() {
    for (const auto& [id, fire] : std::exchange(timers, {})) fire();
  }
  std::map<TimerId, std::function<void()>> timers;
  Backend claimed = Backend::io_uring;

 private:
  TimerId last_ = 0;
};

struct PacedQueue {
  PacedQueue() {
    auto made = std::make_unique<EchoDevice>();
    echo = made.get();
    echo->hold = true;
    transport = std::make_unique<vmm::MmioTransport>(memory, loop, irq, std::move(made), nullptr);
    start_driver(*transport, kFeatures, {&ring, &second});
    transport->kick(0);
  }
  void offer(uint16_t heads) {
    for (uint16_t i = 0; i < heads; ++i) {
      const auto head = static_cast<uint16_t>(ring.next_available % 8);
      ring.describe(head, {kData, 8, kWrite});
      ring.offer(head);
    }
  }
  void offer_and_kick(uint16_t heads) {
    offer(heads);
    transport->kick(0);
  }
  // Whether the driver would kick for the next request.
  [[nodiscard]] bool kicks_wanted() const { return ring.kick_event() == ring.next_available; }
  // One of those that the device holds.
  void answer() {
    {
      const auto guard = echo->host->lock();
      echo->host->push(0, echo->held.front(), 1);
      echo->host->publish_soon(0);
      echo->held.pop_front();
    }
    loop.run_once(0ms);
  }
  // The driver has seen all and waits for the next one.
  void take_all() {
    while (ring.take_used()) {
    }
    ring.set_interrupt_event(ring.seen_used);
  }

  vmm::GuestMemory memory = make_memory();
  HeldTimers loop{std::move(*sys::Loop::create())};
  CountingIrq irq;
  MockRing ring{memory, 0x10000, 8};
  MockRing second{memory, 0x30000, 4};
  EchoDevice* echo = nullptr;
  std::unique_ptr<vmm::MmioTransport> transport;
};

}  // namespace

TEST_CASE("pace: with one request at a time nothing waits") {
  PacedQueue t;
  for (int round = 0; round < 20; ++round) {
    t.offer_and_kick(1);
    CHECK(t.kicks_wanted());
    CHECK(t.loop.timers.empty());
    const int before = t.irq.count;
    t.answer();
    CHECK(t.irq.count == before + 1);
    t.take_all();
  }
}

TEST_CASE("pace: without timers short enough nothing waits") {
  PacedQueue t;
  t.loop.claimed = sys::Loop::Backend::plain;
  t.offer_and_kick(4);
  CHECK(t.kicks_wanted());
  t.answer();
  CHECK(t.irq.count == 1);
}

TEST_CASE("pace: with several the driver need not kick, and is looked after all the same") {
  PacedQueue t;
  t.offer_and_kick(3);
  CHECK(t.echo->popped == 3);
  CHECK_FALSE(t.kicks_wanted());
  t.offer(2);
  t.loop.let_time_pass();
  CHECK(t.echo->popped == 5);
  CHECK_FALSE(t.kicks_wanted());
  t.loop.let_time_pass();  // finds nothing
  CHECK(t.kicks_wanted());
  CHECK(t.loop.timers.empty());
  CHECK(t.irq.count == 0);
}

TEST_CASE("pace: interrupts of a driver that goes on handing in come together") {
  PacedQueue t;
  t.offer_and_kick(4);
  for (int i = 1; i <= 3; ++i) {
    t.offer(1);
    t.answer();
    CHECK(t.ring.used_index() == i);  // who looks sees it at once
    CHECK(t.echo->popped == 4 + i);
    CHECK(t.irq.count == 0);
  }
  t.loop.let_time_pass();
  CHECK(t.irq.count == 1);
}

TEST_CASE("pace: eight are enough for an interrupt, and one that was seen needs none") {
  PacedQueue t;
  t.offer_and_kick(4);
  for (int i = 1; i <= 8; ++i) {
    t.offer(1);
    CHECK(t.irq.count == 0);
    t.answer();
  }
  CHECK(t.irq.count == 1);
  t.take_all();
  for (int i = 0; i < 2; ++i) {
    t.offer(1);
    t.answer();
    t.take_all();  // a driver that looks by itself
  }
  t.loop.let_time_pass();
  CHECK(t.irq.count == 1);
}

TEST_CASE("pace: a look that finds nothing, and the last answer, are told of at once") {
  PacedQueue t;
  t.offer_and_kick(3);
  t.answer();
  CHECK(t.irq.count == 1);
  CHECK(t.kicks_wanted());
  t.take_all();
  t.answer();
  t.take_all();
  t.answer();
  CHECK(t.irq.count == 3);
}

TEST_CASE("pace: a paused device owes nothing, a reset one forgets, the loop may outlive it") {
  PacedQueue t;
  t.offer_and_kick(4);
  t.offer(1);
  t.answer();
  CHECK(t.irq.count == 0);
  t.transport->pause();
  CHECK(t.irq.count == 1);
  while (!t.echo->held.empty()) t.answer();
  CHECK(t.transport->idle());
  CHECK(t.loop.timers.empty());
  t.take_all();
  t.transport->resume();
  t.offer_and_kick(2);
  t.echo->release_all();
  write_register(*t.transport, kStatus, 0);
  t.loop.let_time_pass();
  t.offer(2);
  t.loop.let_time_pass();
  CHECK(t.echo->popped == 7);
  start_driver(*t.transport, kFeatures, {&t.ring, &t.second});
  t.transport.reset();
  t.loop.let_time_pass();
}
