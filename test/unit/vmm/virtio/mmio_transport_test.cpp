#include "vmm/virtio/mmio_transport.hpp"

#include <doctest/doctest.h>

#include "vmm/virtio/echo_device.hpp"
#include "vmm/virtio/mock_driver.hpp"

using namespace microvm;
using namespace microvm::test;
using namespace microvm::vmm::mmio;
using vmm::MmioTransport;

namespace {

struct Fixture {
  uint32_t status() { return read_register(*transport, kStatus); }

  vmm::GuestMemory memory = make_memory();
  std::unique_ptr<sys::Loop> loop = std::move(*sys::Loop::create());
  CountingIrq irq;
  std::unique_ptr<MmioTransport> transport =
      std::make_unique<MmioTransport>(memory, *loop, irq, std::make_unique<EchoDevice>(), nullptr);
};

}  // namespace

TEST_CASE("mmio: identification registers") {
  Fixture t;
  CHECK(read_register(*t.transport, kMagicValue) == 0x74726976);
  CHECK(read_register(*t.transport, kVersionNumber) == 2);
  CHECK(read_register(*t.transport, kDeviceId) == 4);
  write_register(*t.transport, kDeviceFeaturesSel, 0);
  CHECK(read_register(*t.transport, kDeviceFeatures) ==
        (EchoDevice::kFeature | vmm::kFeatureEventIdx | vmm::kFeatureIndirectDesc));
  write_register(*t.transport, kDeviceFeaturesSel, 1);
  CHECK(read_register(*t.transport, kDeviceFeatures) == 1);
  write_register(*t.transport, kDeviceFeaturesSel, 2);
  CHECK(read_register(*t.transport, kDeviceFeatures) == 0);
  write_register(*t.transport, kQueueSel, 1);
  CHECK(read_register(*t.transport, kQueueSizeMax) == 4);
  write_register(*t.transport, kQueueSel, 2);
  CHECK(read_register(*t.transport, kQueueSizeMax) == 0);
  CHECK(read_register(*t.transport, kShmLenLow) == 0xffff'ffff);
}

TEST_CASE("mmio: accesses of a wrong width or place read zero and change nothing") {
  Fixture t;
  std::array<std::byte, 8> bytes{};
  for (const size_t width : {1u, 2u, 8u}) {
    bytes.fill(std::byte{0xff});
    t.transport->read(kMagicValue, std::span(bytes).first(width));
    CHECK(bytes[0] == std::byte{0});
    bytes.fill(std::byte{1});
    t.transport->write(kStatus, std::span(bytes).first(width));
    CHECK(t.status() == 0);
  }
  bytes.fill(std::byte{0xff});
  t.transport->read(kMagicValue + 2, std::span(bytes).first(4));
  CHECK(bytes[0] == std::byte{0});
  for (uint64_t offset = 0; offset < MmioTransport::kRegionBytes; offset += 4) {
    if (offset != kStatus) write_register(*t.transport, offset, 0xffff'ffff);
    (void)read_register(*t.transport, offset);
  }
  CHECK(t.status() == 0);
}

TEST_CASE("mmio: configuration space by any width, bounded") {
  Fixture t;
  std::array<std::byte, 8> bytes{};
  t.transport->read(kConfig + 1, std::span(bytes).first(2));
  CHECK(bytes[0] == std::byte{2});
  CHECK(bytes[1] == std::byte{3});
  bytes.fill(std::byte{0xff});
  t.transport->read(kConfig + 4, std::span(bytes).first(4));
  CHECK(bytes[1] == std::byte{6});
  CHECK(bytes[2] == std::byte{0});
  t.transport->read(kConfig + 0xe00, bytes);
  t.transport->write(kConfig, std::span(bytes).first(4));
  t.transport->read(kConfig, std::span(bytes).first(1));
  CHECK(bytes[0] == std::byte{1});
}
