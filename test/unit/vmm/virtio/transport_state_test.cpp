#include "vmm/virtio/mmio_transport.hpp"

#include <doctest/doctest.h>

#include <functional>

#include "vmm/virtio/echo_device.hpp"
#include "vmm/virtio/mock_driver.hpp"

using namespace microvm;
using namespace microvm::test;
using namespace microvm::vmm::mmio;
using vmm::MmioTransport;
using vmm::TransportState;

namespace {

constexpr uint64_t kData = 0x100000;
constexpr uint64_t kFeatures = vmm::kFeatureVersion1 | vmm::kFeatureEventIdx;

struct Fixture {
  Fixture() { renew(); }
  void renew() {
    auto made = std::make_unique<EchoDevice>();
    echo = made.get();
    transport = std::make_unique<MmioTransport>(memory, *loop, irq, std::move(made), nullptr);
  }
  void use(uint16_t head) {
    ring.describe(head, {kData, 8, kWrite});
    ring.set_interrupt_event(ring.seen_used);
    ring.offer(head);
    transport->kick(0);
    REQUIRE(ring.take_used() == UsedElement{head, 1});
  }
  wire::Bytes save() {
    transport->pause();
    state::Writer out;
    REQUIRE(transport->save(out, 3));
    return out.finish();
  }
  Result<void> restore(wire::ByteView bytes) {
    renew();
    const auto reader = state::Reader::parse(bytes);
    REQUIRE(reader);
    return transport->restore(*reader, 3);
  }
  // Restores what was saved with one thing changed.
  Result<void> restore_changed(const std::function<void(TransportState&)>& change) {
    const wire::Bytes bytes = save();
    const auto reader = state::Reader::parse(bytes);
    REQUIRE(reader);
    const auto section = reader->find(state::SectionId::virtio_transport, 3, 1);
    REQUIRE(section);
    auto state = TransportState::decode(section->body);
    REQUIRE(state);
    change(*state);
    state::Writer out;
    out.add(state::SectionId::virtio_transport, 3, 1, state->encode());
    out.add(state::SectionId::virtio_rng, 3, 1, wire::Bytes(1, std::byte{42}));
    return restore(out.finish());
  }

  vmm::GuestMemory memory = make_memory();
  std::unique_ptr<sys::Loop> loop = std::move(*sys::Loop::create());
  CountingIrq irq;
  MockRing ring{memory, 0x10000, 8};
  MockRing second{memory, 0x30000, 4};
  EchoDevice* echo = nullptr;
  std::unique_ptr<MmioTransport> transport;
};

}  // namespace

TEST_CASE("transport state: a device goes on after a restore as if nothing had been") {
  Fixture t;
  start_driver(*t.transport, kFeatures, {&t.ring, &t.second});
  for (uint16_t i = 0; i < 21; ++i) {
    t.use(static_cast<uint16_t>(i % 8));
  }
  t.ring.describe(6, {kData, 8, kWrite});
  const wire::Bytes bytes = t.save();
  t.ring.offer(6);  // the guest's kick was lost in the pause
  const int before = t.irq.count;
  REQUIRE(t.restore(bytes));
  CHECK(t.echo->activations == 1);
  CHECK(t.echo->popped == 0);
  CHECK(read_register(*t.transport, kStatus) == kRunning);
  CHECK(read_register(*t.transport, kInterruptStatus) == kUsedBuffer);
  t.transport->resume();
  CHECK(t.irq.count > before);  // an interrupt nobody acknowledged is raised again
  CHECK(t.ring.take_used() == UsedElement{6, 1});
  t.use(2);
}

TEST_CASE("transport state: a half-initialised driver goes on with its initialisation") {
  Fixture t;
  negotiate(*t.transport, kFeatures);
  set_up_queue(*t.transport, 0, t.ring.setup);
  REQUIRE(t.restore(t.save()));
  CHECK(t.echo->activations == 0);
  set_up_queue(*t.transport, 1, t.second.setup);
  write_register(*t.transport, kStatus, kRunning);
  t.transport->resume();
  t.use(0);
}

TEST_CASE("transport state: a device that needs a reset still does after a restore") {
  Fixture t;
  start_driver(*t.transport, kFeatures, {&t.ring, &t.second});
  t.ring.offer(12);
  t.transport->kick(0);
  REQUIRE(t.restore(t.save()));
  CHECK(t.transport->needs_reset());
  CHECK(t.echo->activations == 0);
  t.transport->resume();
  write_register(*t.transport, kStatus, 0);
  t.ring.wind_to(0);
  start_driver(*t.transport, kFeatures, {&t.ring, &t.second});
  t.use(1);
}

TEST_CASE("transport state: a queue that the driver stopped stays so after a restore") {
  Fixture t;
  start_driver(*t.transport, kFeatures, {&t.ring, &t.second});
  t.use(0);
  write_register(*t.transport, kQueueSel, 0);
  write_register(*t.transport, kQueueReady, 0);
  REQUIRE(t.restore(t.save()));
  t.transport->resume();
  CHECK(read_register(*t.transport, kStatus) == kRunning);
  CHECK(read_register(*t.transport, kQueueReady) == 0);
  t.ring.offer(1);
  t.transport->kick(0);
  CHECK(t.echo->popped == 0);
}

TEST_CASE("transport state: what does not fit is refused") {
  Fixture t;
  start_driver(*t.transport, kFeatures, {&t.ring, &t.second});
  t.use(0);
  const auto refused = [&](const std::function<void(TransportState&)>& change) {
    const auto result = t.restore_changed(change);
    const auto code = result ? ErrorCode::internal : result.error().code;
    t.renew();  // for the next save
    start_driver(*t.transport, kFeatures, {&t.ring, &t.second});
    return code;
  };
  constexpr auto corrupt = ErrorCode::corrupt;
  CHECK(refused([](TransportState& s) { s.device_type = 2; }) == corrupt);
  CHECK(refused([](TransportState& s) { s.status |= 32; }) == corrupt);
  CHECK(refused([](TransportState& s) { s.status = kDriverOk; }) == corrupt);
  CHECK(refused([](TransportState& s) { s.interrupt_status = 4; }) == corrupt);
  CHECK(refused([](TransportState& s) { s.driver_features = 0; }) == corrupt);
  CHECK(refused([](TransportState& s) { s.driver_features |= 1; }) == ErrorCode::unsupported);
  CHECK(refused([](TransportState& s) { s.queues.pop_back(); }) == corrupt);
  CHECK(refused([](TransportState& s) { s.queues[0].size = 16; }) == corrupt);
  CHECK(refused([](TransportState& s) { s.queues[0].size = 3; }) == corrupt);
  CHECK(refused([](TransportState& s) { s.queues[0].used = kTestMemoryBytes; }) == corrupt);
  CHECK(refused([](TransportState& s) { s.queues[1].available += 1; }) == corrupt);
}

TEST_CASE("transport state: positions that do not match the ring break the queue, nothing else") {
  Fixture t;
  start_driver(*t.transport, kFeatures, {&t.ring, &t.second});
  t.use(0);
  REQUIRE(t.restore_changed([](TransportState& s) { s.positions[0].next_available = 0x8000; }));
  t.transport->resume();
  CHECK(t.transport->needs_reset());
}

TEST_CASE("transport state: truncated or overlong bodies are corrupt") {
  Fixture t;
  start_driver(*t.transport, kFeatures, {&t.ring, &t.second});
  t.save();
  TransportState state;
  state.queues.resize(2);
  state.positions.resize(2);
  wire::Bytes body = state.encode();
  CHECK(TransportState::decode(body));
  for (size_t size = 0; size < body.size(); ++size) {
    CHECK_FALSE(TransportState::decode(wire::ByteView(body).first(size)));
  }
  body.push_back(std::byte{0});
  CHECK_FALSE(TransportState::decode(body));
}
