#include "vmm/virtio/pci_transport.hpp"

#include <doctest/doctest.h>

#include "vmm/virtio/echo_device.hpp"
#include "vmm/virtio/mock_driver.hpp"

using namespace microvm;
using namespace microvm::test;
using namespace microvm::vmm::pci;
using vmm::PciTransport;

namespace {

constexpr uint64_t kData = 0x100000;
constexpr uint64_t kFeatures = vmm::kFeatureVersion1 | vmm::kFeatureEventIdx;
constexpr uint32_t kSizeMask = 0xffff'8000;

struct Fixture {
  Fixture() { renew(); }
  void renew() {
    transport.reset();
    auto made = std::make_unique<EchoDevice>();
    echo = made.get();
    transport = std::make_unique<PciTransport>(memory, *loop, irq, OnPci::kAddress, std::move(made),
                                               nullptr);
  }
  void start() {
    start_driver(*transport, kFeatures, {&ring, &second});
    REQUIRE(common(kDeviceStatus, 1) == kRunning);
  }
  void use(uint16_t head) {
    ring.describe(head, {kData, 8, kWrite});
    ring.set_interrupt_event(ring.seen_used);
    ring.offer(head);
    transport->kick(0);
    REQUIRE(ring.take_used() == UsedElement{head, 1});
  }
  uint32_t common(uint64_t offset, size_t bytes) { return read_at(*transport, offset, bytes); }
  uint32_t config(uint32_t offset, size_t bytes = 4) {
    return read_config(*transport, offset, bytes);
  }
  void set_config(uint32_t offset, uint32_t value, size_t bytes = 4) {
    write_config(*transport, offset, value, bytes);
  }
  wire::Bytes save() {
    transport->pause();
    state::Writer out;
    REQUIRE(transport->save(out, 3));
    return out.finish();
  }
  Result<void> restore(wire::ByteView bytes) {
    renew();
    irq.routes.clear();
    const auto reader = state::Reader::parse(bytes);
    REQUIRE(reader);
    return transport->restore(*reader, 3);
  }
  // Restores what was saved with one byte of PCI's section changed, or so much of it cut off.
  ErrorCode restore_changed(size_t at, uint8_t value, size_t cut = 0) {
    const wire::Bytes bytes = save();
    const auto reader = state::Reader::parse(bytes);
    REQUIRE(reader);
    state::Writer out;
    for (const auto id : {state::SectionId::virtio_transport, state::SectionId::virtio_rng,
                          state::SectionId::virtio_pci}) {
      const auto section = reader->find(id, 3, 1);
      REQUIRE(section);
      wire::Bytes body(section->body.begin(), section->body.end());
      if (id == state::SectionId::virtio_pci) {
        body[at] = std::byte{value};
        body.resize(body.size() - cut);
      }
      out.add(id, 3, 1, body);
    }
    const auto done = restore(out.finish());
    const ErrorCode code = done ? ErrorCode::internal : done.error().code;
    renew();  // for the next save
    start();
    return code;
  }

  vmm::GuestMemory memory = make_memory();
  std::unique_ptr<sys::Loop> loop = std::move(*sys::Loop::create());
  CountingMessages irq;
  MockRing ring{memory, 0x10000, 8};
  MockRing second{memory, 0x30000, 4};
  EchoDevice* echo = nullptr;
  std::unique_ptr<PciTransport> transport;
};

}  // namespace

TEST_CASE("pci: what a driver looks for in the configuration space") {
  Fixture t;
  CHECK(t.config(kVendorId, 2) == 0x1af4);
  CHECK(t.config(kDeviceId, 2) == 0x1044);
  CHECK(t.config(kRevision, 1) == 1);
  CHECK(t.config(0x0e, 1) == 0);  // a type 0 header, one function
  CHECK(t.config(kStatus, 2) == kHasCapabilities);
  CHECK(t.config(kBar0) == OnPci::kAddress);
  for (uint32_t bar = kBar0 + 4; bar < 0x28; bar += 4) CHECK(t.config(bar) == 0);
  CHECK(t.config(0x3d, 1) == 0);  // no pin

  struct Window {
    WindowKind kind;
    uint64_t offset;
    uint32_t bytes;
  };
  for (const Window& window :
       {Window{kCommonWindow, kCommonAt, 56}, Window{kIsrWindow, kIsrAt, 1},
        Window{kDeviceWindow, kDeviceAt, 4096}, Window{kNotifyWindow, kNotifyAt, 8}}) {
    const uint32_t at = find_capability(*t.transport, kVendorCapability, window.kind);
    REQUIRE(at != 0);
    CHECK(t.config(at + 2, 1) == (window.kind == kNotifyWindow ? 20 : 16));
    CHECK(t.config(at + 4, 1) == 0);
    CHECK(t.config(at + 8) == window.offset);
    CHECK(t.config(at + 12) == window.bytes);
    if (window.kind == kNotifyWindow) CHECK(t.config(at + 16) == kNotifyStride);
  }
  const uint32_t msix = find_capability(*t.transport, kMsixCapability);
  REQUIRE(msix != 0);
  CHECK(t.config(msix + kMsixControl, 2) == 2);  // three vectors, off
  CHECK(t.config(msix + 4) == kMsixTableAt);
  CHECK(t.config(msix + 8) == kMsixPendingAt);
}

// Snapshots hold it: a guest has looked.
TEST_CASE("pci: the layout never changes") {
  Fixture t;
  CHECK(find_capability(*t.transport, kMsixCapability) == 0x40);
  CHECK(find_capability(*t.transport, kVendorCapability, kCommonWindow) == 0x4c);
  CHECK(find_capability(*t.transport, kVendorCapability, kIsrWindow) == 0x5c);
  CHECK(find_capability(*t.transport, kVendorCapability, kDeviceWindow) == 0x6c);
  CHECK(find_capability(*t.transport, kVendorCapability, kNotifyWindow) == 0x7c);
  CHECK(find_capability(*t.transport, kVendorCapability, kAccessWindow) == 0x90);
  CHECK(PciTransport::kRegionBytes == 0x8000);
  CHECK(PciTransport::notify_offset(2) == 0x3008);
  CHECK(kMsixTableAt == 0x4000);
  CHECK(kMsixPendingAt == 0x5000);
}

TEST_CASE("pci: what is read-only stays as it is") {
  Fixture t;
  std::array<uint32_t, 64> before{};
  for (uint32_t i = 0; i < 64; ++i) before[i] = t.config(4 * i);
  for (uint32_t i = 0; i < 64; ++i) t.set_config(4 * i, 0xffff'ffff);
  for (uint32_t i = 0; i < 64; ++i) t.set_config(4 * i, 0);
  CHECK(t.config(kBar0) == OnPci::kAddress);
  for (uint32_t i = 0; i < 64; ++i) CHECK(t.config(4 * i) == before[i]);
}

TEST_CASE("pci: configuration accesses of any width, at any place") {
  Fixture t;
  std::array<std::byte, 8> bytes{};
  for (uint32_t offset = 0; offset < 0x1010; ++offset) {
    for (const size_t width : {1u, 2u, 3u, 4u, 8u}) {
      bytes.fill(std::byte{0xa5});
      t.transport->config_write(offset, std::span(bytes).first(width));
      t.transport->config_read(offset, std::span(bytes).first(width));
      if (offset >= 256) CHECK(bytes[0] == std::byte{0xff});
    }
  }
  t.transport->config_read(254, std::span(bytes).first(4));
  CHECK(bytes[2] == std::byte{0xff});  // half of it is behind the end
  CHECK(t.config(kVendorId, 2) == 0x1af4);
}

TEST_CASE("pci: the BAR tells its size and is not moved") {
  Fixture t;
  t.start();
  t.set_config(kBar0, 0xffff'ffff);
  CHECK(t.config(kBar0) == kSizeMask);
  CHECK(t.common(kDeviceStatus, 1) == kRunning);
  for (const uint32_t address : {0u, 0xc000'0000u, 0xfee0'0000u, 0xd100'0000u}) {
    t.set_config(kBar0, address);
    CHECK(t.config(kBar0) == OnPci::kAddress);
  }
  t.set_config(kBar0 + 3, 0xc0, 1);
  t.set_config(kBar0 + 1, 0xffff, 2);
  CHECK(t.config(kBar0) == OnPci::kAddress);
  CHECK(t.common(kDeviceStatus, 1) == kRunning);
}

TEST_CASE("pci: without memory accesses there are no registers") {
  Fixture t;
  t.start();
  t.set_config(kCommand, 0, 2);
  CHECK(t.common(kDeviceStatus, 1) == 0);
  write_at(*t.transport, kDeviceStatus, 0, 1);
  t.set_config(kCommand, kMemoryOn, 2);
  CHECK(t.common(kDeviceStatus, 1) == kRunning);
}

TEST_CASE("pci: registers have one width, others read zero and change nothing") {
  Fixture t;
  t.start();
  std::array<std::byte, 8> bytes{};
  for (uint64_t offset = 0; offset < PciTransport::kRegionBytes; ++offset) {
    for (const size_t width : {1u, 2u, 4u, 8u}) {
      const bool ends_it = offset == kDeviceStatus && width == 1;
      bytes.fill(std::byte{0});
      if (!ends_it) t.transport->write(offset, std::span(bytes).first(width));
      t.transport->read(offset, std::span(bytes).first(width));
    }
  }
  CHECK(t.common(kDeviceStatus, 1) == kRunning);
  CHECK(t.common(kDeviceStatus, 2) == 0);
  CHECK(t.common(kDeviceStatus, 4) == 0);
  CHECK(t.common(kNumQueues, 2) == 2);
  CHECK(t.common(kNumQueues, 4) == 0);
  CHECK(t.common(kQueueDescLow, 8) == 0);
  CHECK(t.common(kCommonBytes, 4) == 0);
}

TEST_CASE("pci: queues as the driver sees them") {
  Fixture t;
  switch_on(*t.transport);
  CHECK(t.common(kQueueSize, 2) == 8);
  write_at(*t.transport, kQueueSelect, 1, 2);
  CHECK(t.common(kQueueSize, 2) == 4);
  CHECK(t.common(kQueueNotifyOff, 2) == 1);
  CHECK(t.common(kQueueVector, 2) == vmm::MsixTable::kNoVector);
  write_at(*t.transport, kQueueVector, 2, 2);
  CHECK(t.common(kQueueVector, 2) == 2);
  write_at(*t.transport, kQueueVector, 3, 2);  // there are three
  CHECK(t.common(kQueueVector, 2) == vmm::MsixTable::kNoVector);
  write_at(*t.transport, kConfigVector, 0x100, 2);
  CHECK(t.common(kConfigVector, 2) == vmm::MsixTable::kNoVector);
  write_at(*t.transport, kQueueSelect, 2, 2);
  CHECK(t.common(kQueueSize, 2) == 0);
  write_at(*t.transport, kQueueVector, 1, 2);
  CHECK(t.common(kQueueVector, 2) == vmm::MsixTable::kNoVector);
  write_at(*t.transport, kQueueEnable, 1, 2);
  CHECK(t.common(kQueueEnable, 2) == 0);

  t.start();
  write_at(*t.transport, kQueueSelect, 0, 2);
  CHECK(t.common(kQueueEnable, 2) == 1);
  CHECK(t.common(kQueueDescLow, 4) == t.ring.setup.descriptors);
  CHECK(t.common(kQueueDeviceHigh, 4) == 0);
  write_at(*t.transport, kQueueEnable, 0, 2);  // only a reset stops it
  CHECK(t.common(kQueueEnable, 2) == 1);
  t.use(0);
  write_at(*t.transport, kDeviceStatus, 0, 1);
  CHECK(t.common(kQueueSize, 2) == 8);
  CHECK(t.common(kQueueEnable, 2) == 0);
  CHECK(t.common(kQueueVector, 2) == vmm::MsixTable::kNoVector);
}

TEST_CASE("pci: each queue has a message of its own, and the configuration one") {
  Fixture t;
  t.start();
  t.use(0);
  CHECK(t.irq.of[1] == 1);
  CHECK(t.irq.count == 1);
  CHECK(t.common(kIsrAt, 1) == 0);  // with messages nobody looks there
  {
    const auto guard = t.echo->host->lock();
    t.echo->host->config_changed();
  }
  CHECK(t.irq.of[0] == 1);
  CHECK(t.common(kConfigGeneration, 1) == 1);
  CHECK(t.common(kIsrAt, 4) == 0);  // takes nothing away
  CHECK(t.common(kIsrAt, 1) == vmm::status::kConfigChange);
  CHECK(t.common(kIsrAt, 1) == 0);
}

TEST_CASE("pci: without MSI-X the reason stands in the ISR register") {
  Fixture t;
  t.start();
  t.set_config(find_capability(*t.transport, kMsixCapability) + kMsixControl, 0, 2);
  t.use(0);
  CHECK(t.irq.count == 0);
  CHECK(t.common(kIsrAt, 1) == vmm::status::kUsedBuffer);
}

TEST_CASE("pci: a masked vector waits") {
  Fixture t;
  t.start();
  write_at(*t.transport, kMsixTableAt + 16 + 12, 1, 4);
  t.use(0);
  CHECK(t.irq.count == 0);
  CHECK(t.common(kMsixPendingAt, 4) == 2);
  write_at(*t.transport, kMsixPendingAt, 0, 4);  // not for the guest to change
  CHECK(t.common(kMsixPendingAt, 4) == 2);
  write_at(*t.transport, kMsixTableAt + 16 + 12, 0, 4);
  CHECK(t.irq.of[1] == 1);
}

TEST_CASE("pci: registers through the configuration space") {
  Fixture t;
  t.start();
  const uint32_t window = find_capability(*t.transport, kVendorCapability, kAccessWindow);
  const auto aim = [&](uint32_t bar, uint32_t offset, uint32_t length) {
    t.set_config(window + kAccessBar, bar, 1);
    t.set_config(window + kAccessOffset, offset);
    t.set_config(window + kAccessLength, length);
  };
  const auto data = [&] { return t.config(window + kAccessData); };
  t.set_config(kCommand, 0, 2);  // it needs no memory accesses
  aim(0, kDeviceStatus, 1);
  CHECK((data() & 0xff) == kRunning);
  aim(0, kQueueSelect, 2);
  t.set_config(window + kAccessData, 1, 2);
  aim(0, kQueueSize, 2);
  CHECK((data() & 0xffff) == 4);
  for (const auto& [bar, offset, length] :
       {std::tuple{1u, uint32_t{kDeviceStatus}, 1u}, std::tuple{0u, uint32_t{kDeviceStatus}, 0u},
        std::tuple{0u, uint32_t{kDeviceStatus}, 3u}, std::tuple{0u, 0x13u, 2u},
        std::tuple{0u, 0x8000u, 4u}, std::tuple{0u, 0xffff'fffcu, 4u}}) {
    aim(bar, offset, length);
    t.set_config(window + kAccessData, 0);
    CHECK(data() == 0);
  }
  aim(0, kDeviceStatus, 1);
  CHECK((data() & 0xff) == kRunning);
  t.set_config(window + kAccessData, 0, 1);
  CHECK((data() & 0xff) == 0);  // a reset
}

TEST_CASE("pci: a device goes on after a restore as if nothing had been") {
  Fixture t;
  t.start();
  for (uint16_t i = 0; i < 21; ++i) t.use(static_cast<uint16_t>(i % 8));
  const int used = t.irq.of[1];
  t.set_config(kCacheLine, 16, 1);
  t.ring.seen_used--;  // an interrupt the driver has not seen yet
  t.ring.set_interrupt_event(t.ring.seen_used);
  const wire::Bytes bytes = t.save();
  REQUIRE(t.restore(bytes));
  CHECK(t.irq.routes.size() == 3);
  CHECK(t.irq.routes[1] == std::pair<uint16_t, vmm::MsiMessage>(1, message_of(1)));
  CHECK(t.irq.of[1] == used);
  t.transport->resume();
  CHECK(t.irq.of[1] == used + 1);  // it may have been lost
  CHECK(t.irq.count == t.irq.of[1]);
  CHECK(t.config(kCacheLine, 1) == 16);
  CHECK(t.common(kDeviceStatus, 1) == kRunning);
  REQUIRE(t.ring.take_used());
  t.use(2);
  CHECK(t.irq.of[1] == used + 2);

  t.transport->pause();
  t.ring.set_interrupt_event(t.ring.seen_used);
  t.transport->resume();
  CHECK(t.irq.of[1] == used + 2);  // it has seen all
}

TEST_CASE("pci: what is masked or waits is so after a restore") {
  Fixture t;
  t.start();
  write_at(*t.transport, kMsixTableAt + 16 + 12, 1, 4);
  t.use(0);
  REQUIRE(t.restore(t.save()));
  t.transport->resume();
  CHECK(t.irq.count == 0);
  CHECK(t.common(kMsixPendingAt, 4) == 2);
  write_at(*t.transport, kMsixTableAt + 16 + 12, 0, 4);
  CHECK(t.irq.of[1] == 1);
}

TEST_CASE("pci: a saved function that is not this one is refused") {
  Fixture t;
  t.start();
  constexpr size_t kVectors = 256;
  CHECK(t.restore_changed(kDeviceId, 0x42) == ErrorCode::unsupported);
  CHECK(t.restore_changed(0x42, 7) == ErrorCode::unsupported);      // number of vectors
  CHECK(t.restore_changed(kBar0, 0x10) == ErrorCode::unsupported);  // not a place
  CHECK(t.restore_changed(kVectors + 2, 3) == ErrorCode::corrupt);  // number of queues
  CHECK(t.restore_changed(kVectors + 8, 4) == ErrorCode::corrupt);  // number of entries
  for (size_t cut = 1; cut < 8; ++cut) {
    CHECK(t.restore_changed(0, 0xf4, cut) == ErrorCode::corrupt);
  }
  // Vectors that are not there are none.
  CHECK(t.restore_changed(kVectors, 3) == ErrorCode::internal);
}

TEST_CASE("pci bus: functions by their numbers, nothing elsewhere") {
  Fixture t;
  vmm::PciBus bus;
  vmm::HostBridge bridge;
  bus.add(0, bridge);
  bus.add(3, *t.transport);
  const auto read = [&](uint64_t offset) {
    uint32_t value = 0;
    bus.read(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  };
  const uint32_t ones = ~0u;
  CHECK(read(0) == 0x0008'1b36);
  CHECK(read(8) == 0x0600'0000);
  CHECK(read(3 << 15) == 0x1044'1af4);
  CHECK(read(1 << 15) == ones);
  CHECK(read((3 << 15) + (1 << 12)) == ones);
  CHECK(read((3 << 15) + 0x100) == ones);
  CHECK(read(vmm::PciBus::kWindowBytes) == ones);
  for (uint64_t offset = 0; offset < vmm::PciBus::kWindowBytes; offset += 4) {
    bus.write(offset, std::as_bytes(std::span(&ones, 1)));
  }
  CHECK(read(0) == 0x0008'1b36);
  CHECK(read(kCommand) == 0);
  CHECK((read((3 << 15) + kCommand) & 0xffff) == (kMemoryOn | kBusMaster | kNoPinInterrupts));
}
