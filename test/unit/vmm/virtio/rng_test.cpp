#include "vmm/virtio/rng.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "vmm/virtio/mock_driver.hpp"

using namespace microvm;
using namespace microvm::test;

TEST_CASE_TEMPLATE("rng: fills buffers with fresh bytes, at most a page per request", Bus, OnMmio,
                   OnPci) {
  vmm::GuestMemory memory = make_memory();
  auto loop = std::move(*sys::Loop::create());
  MockRing ring(memory, 0x10000, 64);
  Bus bus;
  bus.put(memory, *loop, std::make_unique<vmm::RngDevice>(), nullptr);
  start_driver(*bus.transport, vmm::kFeatureVersion1, {&ring});
  bus.acknowledge(bus.interrupts());

  constexpr uint64_t kData = 0x100000;
  ring.describe_chain(0, {{kData, 32, kWrite}, {kData + 4096, 32, kWrite}});
  ring.describe_chain(2, {{kData + 8192, 16, kWrite}, {kData + 16384, 65536, kWrite}});
  ring.describe_chain(4, {{kData, 16}});  // nothing to write to
  for (const uint16_t head : std::initializer_list<uint16_t>{0, 2, 4}) {
    ring.offer(head);
  }
  const int before = bus.irq.count;
  bus.transport->kick(0);
  CHECK(bus.irq.count == before + 1);
  CHECK(ring.take_used() == UsedElement{0, 64});
  CHECK(ring.take_used() == UsedElement{2, 4096});
  CHECK(ring.take_used() == UsedElement{4, 0});

  std::array<std::byte, 32> first{};
  std::array<std::byte, 32> second{};
  REQUIRE(memory.read_bytes(kData, first));
  REQUIRE(memory.read_bytes(kData + 4096, second));
  CHECK(first != second);
  CHECK(std::any_of(first.begin(), first.end(), [](std::byte b) { return b != std::byte{0}; }));
  std::byte beyond{1};
  REQUIRE(memory.read(kData + 16384 + 4080, beyond));
  CHECK(beyond == std::byte{0});
}
