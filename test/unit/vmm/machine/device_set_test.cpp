#include "vmm/machine/device_set.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <string_view>

#include "vmm/arch/x86_64/layout.hpp"

using namespace microvm;
using namespace microvm::vmm;

namespace {

constexpr wire::Shape kLargest{.memory_bytes = wire::kMaxMemoryBytes,
                               .vcpus = wire::kMaxVcpus,
                               .disks = wire::kMaxDisks,
                               .nets = wire::kMaxNets};

const DeviceRow& row_of(DeviceType type) {
  return *std::ranges::find_if(device_set(),
                               [&](const DeviceRow& row) { return row.kind->type == type; });
}

}  // namespace

TEST_CASE("device set: every device has slots of its own, and room for all there can be") {
  std::set<uint32_t> taken;
  std::set<state::SectionId> sections;
  std::set<std::string_view> names;
  for (const DeviceRow& row : device_set()) {
    CHECK(row.count(kLargest) <= row.slots);
    CHECK(row.first_slot + row.slots <= layout::kMaxVirtioSlots);
    for (uint32_t i = 0; i < row.slots; ++i) CHECK(taken.insert(row.first_slot + i).second);
    CHECK(sections.insert(state_section(row.kind->type)).second);
    CHECK(names.insert(row.kind->name).second);
    CHECK(row.kind->queues > 0);
    CHECK(row.kind->state_version > 0);
  }
}

TEST_CASE("device set: the slots of a shape") {
  constexpr uint32_t kFirstDevices = 0b111'1111;
  CHECK((slots_of({.disks = 0}) & kFirstDevices) == 0b11'0000);
  CHECK((slots_of({.disks = 1}) & kFirstDevices) == 0b11'0001);
  CHECK((slots_of({.disks = 1, .nets = 1}) & kFirstDevices) == 0b111'0001);
  CHECK((slots_of(kLargest) & kFirstDevices) == 0b111'1111);
}

// Snapshots hold these: whatever fails here would break them.
TEST_CASE("device set: slots, addresses, pins and sections of today's devices never change") {
  CHECK(row_of(DeviceType::block).first_slot == 0);
  CHECK(row_of(DeviceType::vsock).first_slot == 4);
  CHECK(row_of(DeviceType::rng).first_slot == 5);
  CHECK(row_of(DeviceType::net).first_slot == 6);
  CHECK(state_section(DeviceType::block) == state::SectionId{9});
  CHECK(state_section(DeviceType::vsock) == state::SectionId{10});
  CHECK(state_section(DeviceType::rng) == state::SectionId{11});
  CHECK(state_section(DeviceType::net) == state::SectionId{0x101});
  CHECK(state_section(DeviceType::balloon) == state::SectionId{0x105});
  constexpr std::array<uint32_t, 12> kPins = {16, 17, 18, 19, 20, 21, 22, 23, 5, 6, 10, 11};
  static_assert(layout::kMaxVirtioSlots == kPins.size());
  CHECK(layout::kPciConfig == 0xe000'0000);
  CHECK(layout::kPciMemory == 0xd100'0000);
  std::set<uint32_t> taken = {layout::kSerialGsi, layout::kGenerationIdGsi};
  for (uint32_t slot = 0; slot < kPins.size(); ++slot) {
    CHECK(layout::virtio_pci_device(slot) == slot + 1);
    CHECK(layout::virtio_pci_address(slot) == 0xd100'8000 + slot * 0x8000);
    CHECK(layout::virtio_mmio_address(slot) == 0xd000'0000 + slot * 0x1000);
    CHECK(layout::virtio_gsi(slot) == kPins[slot]);
    CHECK(layout::virtio_gsi(slot) < layout::kIoApicPins);
    CHECK(taken.insert(layout::virtio_gsi(slot)).second);
  }
}
