// The driver's side of virtqueues, for tests: rings built by hand in guest memory, rules kept or
// broken as the test likes.
#pragma once

#include <atomic>
#include <cstring>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include "sys/loop.hpp"
#include "vmm/memory/guest_memory.hpp"
#include "vmm/virtio/irq.hpp"
#include "vmm/virtio/mmio_registers.hpp"
#include "vmm/virtio/mmio_transport.hpp"
#include "vmm/virtio/pci_transport.hpp"

namespace microvm::test {

inline constexpr uint16_t kNext = 1;
inline constexpr uint16_t kWrite = 2;
inline constexpr uint16_t kIndirect = 4;
inline constexpr uint64_t kTestMemoryBytes = 4u << 20;

inline vmm::GuestMemory make_memory() {
  auto memory = vmm::GuestMemory::reserve(kTestMemoryBytes);
  if (!memory || !memory->back_with_zeros()) std::abort();
  return std::move(*memory);
}

struct Descriptor {
  uint64_t address = 0;
  uint32_t length = 0;
  uint16_t flags = 0;
  uint16_t next = 0;
};

struct UsedElement {
  uint32_t id = 0;
  uint32_t length = 0;
  bool operator==(const UsedElement&) const = default;
};

// One queue as its driver sees it.
class MockRing {
 public:
  // The areas stand at `base`, 64 KiB of room.
  MockRing(vmm::GuestMemory& memory, uint64_t base, uint16_t size) : memory_(memory) {
    setup.size = size;
    setup.ready = true;
    setup.descriptors = base;
    setup.available = base + 0x8000;
    setup.used = base + 0xc000;
  }

  void describe(uint16_t index, const Descriptor& descriptor) {
    describe_at(setup.descriptors, index, descriptor);
  }
  void describe_at(uint64_t table, uint16_t index, const Descriptor& descriptor) {
    (void)memory_.write(table + 16 * uint64_t{index}, descriptor);
  }
  // Writes buffers as a chain from descriptor `head` on.
  void describe_chain(uint16_t head, std::vector<Descriptor> buffers) {
    for (size_t i = 0; i < buffers.size(); ++i) {
      const auto index = static_cast<uint16_t>((head + i) % setup.size);
      if (i + 1 < buffers.size()) {
        buffers[i].flags = static_cast<uint16_t>(buffers[i].flags | kNext);
        buffers[i].next = static_cast<uint16_t>((index + 1) % setup.size);
      }
      describe(index, buffers[i]);
    }
  }

  // Puts a head into the available ring without moving the index.
  void stage(uint16_t head) {
    put16(setup.available + 4 + 2 * static_cast<uint64_t>(next_available++ % setup.size), head);
  }
  void show_available() { put16(setup.available + 2, next_available); }
  void offer(uint16_t head) {
    stage(head);
    show_available();
  }

  // What the device gave back and the driver has not seen yet.
  std::optional<UsedElement> take_used() {
    if (used_index() == seen_used) return std::nullopt;
    UsedElement element;
    (void)memory_.read(setup.used + 4 + 8 * static_cast<uint64_t>(seen_used++ % setup.size),
                       element);
    return element;
  }
  [[nodiscard]] uint16_t used_index() const { return get16(setup.used + 2); }
  [[nodiscard]] uint16_t used_flags() const { return get16(setup.used); }
  [[nodiscard]] uint16_t kick_event() const { return get16(setup.used + 4 + 8ul * setup.size); }
  void set_interrupt_event(uint16_t value) { put16(setup.available + 4 + 2ul * setup.size, value); }
  void clear_kick_event() { put16(setup.used + 4 + 8ul * setup.size, 0); }
  void set_available_flags(uint16_t value) { put16(setup.available, value); }
  // Both sides of the ring as if `index` buffers had gone through it already.
  void wind_to(uint16_t index) {
    next_available = seen_used = index;
    show_available();
    put16(setup.used + 2, index);
  }

  // Its areas, as in new memory.
  void clear() {
    const std::vector<std::byte> zeros(16ul * setup.size + 8);  // the largest
    for (const uint64_t area : {setup.descriptors, setup.available, setup.used}) {
      (void)memory_.write_bytes(area, zeros);
    }
  }

  vmm::QueueSetup setup;
  uint16_t next_available = 0;
  uint16_t seen_used = 0;

 private:
  void put16(uint64_t address, uint16_t value) { (void)memory_.write(address, value); }
  [[nodiscard]] uint16_t get16(uint64_t address) const {
    uint16_t value = 0;
    (void)memory_.read(address, value);
    return value;
  }
  vmm::GuestMemory& memory_;
};

class CountingIrq : public vmm::Irq {
 public:
  void raise() noexcept override { ++count; }
  std::atomic<int> count = 0;
};

// Messages, each counted at its vector; what they were told of where each goes.
class CountingMessages : public vmm::MessageInterrupts {
 public:
  void route(uint16_t vector, const vmm::MsiMessage& message) override {
    routes.emplace_back(vector, message);
  }
  void raise(uint16_t vector) noexcept override {
    ++count;
    ++of[vector];
  }
  std::atomic<int> count = 0;
  std::array<std::atomic<int>, 64> of{};
  std::vector<std::pair<uint16_t, vmm::MsiMessage>> routes;
};

// A register access of so many bytes as a vCPU's exit would do it.
inline uint32_t read_at(vmm::Transport& transport, uint64_t offset, size_t bytes) {
  uint32_t value = 0;
  transport.read(offset, std::as_writable_bytes(std::span(&value, 1)).first(bytes));
  return value;
}
inline void write_at(vmm::Transport& transport, uint64_t offset, uint32_t value, size_t bytes) {
  transport.write(offset, std::as_bytes(std::span(&value, 1)).first(bytes));
}

struct Place {
  uint64_t offset;
  size_t bytes;
};
// Where on PCI a register is that has this place on MMIO.
inline Place pci_place(uint64_t mmio_offset) {
  using namespace vmm;
  switch (mmio_offset) {
    case mmio::kDeviceFeatures:
      return {pci::kDeviceFeature, 4};
    case mmio::kDeviceFeaturesSel:
      return {pci::kDeviceFeatureSelect, 4};
    case mmio::kDriverFeatures:
      return {pci::kDriverFeature, 4};
    case mmio::kDriverFeaturesSel:
      return {pci::kDriverFeatureSelect, 4};
    case mmio::kQueueSel:
      return {pci::kQueueSelect, 2};
    case mmio::kQueueSize:
      return {pci::kQueueSize, 2};
    case mmio::kQueueReady:
      return {pci::kQueueEnable, 2};
    case mmio::kStatus:
      return {pci::kDeviceStatus, 1};
    default:
      return {pci::kQueueDescLow + (mmio_offset & 4) + (mmio_offset - mmio::kQueueDescLow) / 16 * 8,
              4};
  }
}

// The register of either transport, named as MMIO has it.
inline uint32_t read_register(vmm::Transport& transport, uint64_t offset) {
  const bool on_pci = dynamic_cast<vmm::PciTransport*>(&transport) != nullptr;
  const Place place = on_pci ? pci_place(offset) : Place{offset, 4};
  return read_at(transport, place.offset, place.bytes);
}
inline void write_register(vmm::Transport& transport, uint64_t offset, uint32_t value) {
  const bool on_pci = dynamic_cast<vmm::PciTransport*>(&transport) != nullptr;
  const Place place = on_pci ? pci_place(offset) : Place{offset, 4};
  write_at(transport, place.offset, value, place.bytes);
}
inline void notify(vmm::Transport& transport, uint16_t queue) {
  const bool on_pci = dynamic_cast<vmm::PciTransport*>(&transport) != nullptr;
  if (on_pci) return write_at(transport, vmm::PciTransport::notify_offset(queue), queue, 2);
  write_register(transport, vmm::mmio::kQueueNotify, queue);
}

inline uint32_t read_config(vmm::PciTransport& transport, uint32_t offset, size_t bytes = 4) {
  uint32_t value = 0;
  transport.config_read(offset, std::as_writable_bytes(std::span(&value, 1)).first(bytes));
  return value;
}
inline void write_config(vmm::PciTransport& transport, uint32_t offset, uint32_t value,
                         size_t bytes = 4) {
  transport.config_write(offset, std::as_bytes(std::span(&value, 1)).first(bytes));
}
// The capability of this id, of virtio's the one of this kind; 0: there is none.
inline uint32_t find_capability(vmm::PciTransport& transport, uint8_t id, uint8_t kind = 0) {
  for (uint32_t at = read_config(transport, vmm::pci::kCapabilities, 1); at != 0;
       at = read_config(transport, at + 1, 1)) {
    const bool of_kind = kind == 0 || read_config(transport, at + 3, 1) == kind;
    if (read_config(transport, at, 1) == id && of_kind) return at;
  }
  return 0;
}
inline constexpr uint64_t kMessageAddress = 0xfee0'0000;
inline vmm::MsiMessage message_of(uint16_t vector) {
  return {kMessageAddress, 0x40u + vector};
}
// As a driver does before it looks at the device: its registers, and a message for each vector.
inline void switch_on(vmm::PciTransport& transport) {
  using namespace vmm;
  write_config(transport, pci::kCommand, pci::kMemoryOn | pci::kBusMaster, 2);
  const uint32_t msix = find_capability(transport, pci::kMsixCapability);
  const uint32_t vectors = (read_config(transport, msix + pci::kMsixControl, 2) & 0x7ff) + 1;
  for (uint16_t vector = 0; vector < vectors; ++vector) {
    const uint64_t entry = pci::kMsixTableAt + vector * uint64_t{MsixTable::kEntryBytes};
    write_at(transport, entry, kMessageAddress, 4);
    write_at(transport, entry + 4, 0, 4);
    write_at(transport, entry + 8, message_of(vector).data, 4);
    write_at(transport, entry + 12, 0, 4);
  }
  write_config(transport, msix + pci::kMsixControl, pci::kMsixEnabled, 2);
}

inline void set_up_queue(vmm::Transport& transport, uint16_t index, const vmm::QueueSetup& setup) {
  using namespace vmm::mmio;
  const auto write64 = [&](uint64_t low, uint64_t value) {
    write_register(transport, low, static_cast<uint32_t>(value));
    write_register(transport, low + 4, static_cast<uint32_t>(value >> 32));
  };
  write_register(transport, kQueueSel, index);
  write_register(transport, kQueueSize, setup.size);
  write64(kQueueDescLow, setup.descriptors);
  write64(kQueueDriverLow, setup.available);
  write64(kQueueDeviceLow, setup.used);
  if (dynamic_cast<vmm::PciTransport*>(&transport) != nullptr) {
    write_at(transport, vmm::pci::kQueueVector, index + 1u, 2);
  }
  write_register(transport, kQueueReady, setup.ready ? 1 : 0);
}

inline void negotiate(vmm::Transport& transport, uint64_t features) {
  using namespace vmm::mmio;
  if (auto* pci = dynamic_cast<vmm::PciTransport*>(&transport)) switch_on(*pci);
  write_register(transport, kStatus, 0);
  if (dynamic_cast<vmm::PciTransport*>(&transport) != nullptr) {
    write_at(transport, vmm::pci::kConfigVector, 0, 2);
  }
  write_register(transport, kStatus, kAcknowledge);
  write_register(transport, kStatus, kAcknowledge | kDriver);
  for (uint32_t half = 0; half < 2; ++half) {
    write_register(transport, kDriverFeaturesSel, half);
    write_register(transport, kDriverFeatures, static_cast<uint32_t>(features >> (32 * half)));
  }
  write_register(transport, kStatus, kAcknowledge | kDriver | kFeaturesOk);
}

inline constexpr uint32_t kRunning =
    vmm::mmio::kAcknowledge | vmm::mmio::kDriver | vmm::mmio::kFeaturesOk | vmm::mmio::kDriverOk;

inline void start_driver(vmm::Transport& transport, uint64_t features,
                         std::initializer_list<MockRing*> rings) {
  negotiate(transport, features);
  uint16_t index = 0;
  for (const MockRing* ring : rings) {
    set_up_queue(transport, index++, ring->setup);
  }
  write_register(transport, vmm::mmio::kStatus, kRunning);
}

// A device behind either transport, for TEST_CASE_TEMPLATE: what interrupts it sent is asked the
// same way.
struct OnMmio {
  static constexpr uint64_t kConfigAt = vmm::mmio::kConfig;
  void put(vmm::GuestMemory& memory, sys::Loop& loop, std::unique_ptr<vmm::Device> device,
           base::LogSink log) {
    transport =
        std::make_unique<vmm::MmioTransport>(memory, loop, irq, std::move(device), std::move(log));
  }
  uint32_t interrupts() { return read_register(*transport, vmm::mmio::kInterruptStatus); }
  void acknowledge(uint32_t reasons) {
    write_register(*transport, vmm::mmio::kInterruptAck, reasons);
  }
  CountingIrq irq;
  std::unique_ptr<vmm::Transport> transport;
};
struct OnPci {
  static constexpr uint64_t kConfigAt = vmm::pci::kDeviceAt;
  static constexpr uint32_t kAddress = 0xd100'8000;
  void put(vmm::GuestMemory& memory, sys::Loop& loop, std::unique_ptr<vmm::Device> device,
           base::LogSink log) {
    transport = std::make_unique<vmm::PciTransport>(memory, loop, irq, kAddress, std::move(device),
                                                    std::move(log));
    switch_on(static_cast<vmm::PciTransport&>(*transport));
    seen_config = irq.of[0];
    seen = irq.count;
  }
  uint32_t interrupts() {
    const bool config = irq.of[0] != seen_config;
    const bool used = irq.count - irq.of[0] != seen - seen_config;
    return (config ? vmm::status::kConfigChange : 0) | (used ? vmm::status::kUsedBuffer : 0);
  }
  void acknowledge(uint32_t) {
    seen_config = irq.of[0];
    seen = irq.count;
  }
  CountingMessages irq;
  int seen_config = 0;
  int seen = 0;
  std::unique_ptr<vmm::Transport> transport;
};

// Lets the loop work until `done` holds; false after two seconds.
template <class Condition>
bool run_until(sys::Loop& loop, Condition done) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    loop.run_once(std::chrono::milliseconds(5));
  }
  return true;
}

}  // namespace microvm::test
